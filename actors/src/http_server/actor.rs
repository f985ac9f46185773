//! The HTTP server's shell: a life of the web server for each life of the actor.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Running, WrapFuture};
use actix_web::{
    App,
    dev::{Server, ServerHandle},
    http::KeepAlive,
    middleware, web,
};
use socket2::SockRef;
use supervisors::Reporter;

use super::routes::{self, Site};

/// Two threads, so that a long answer does not keep a probe waiting.
const WORKERS: usize = 2;
/// 256 in all: more wait in the listener's queue.
const CONNECTIONS_PER_WORKER: usize = 128;
/// A client that has not sent its headers by then is sent away.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// A client that takes nothing of its answer for so long is cut off.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
/// What is being answered when the server stops gets so long, in seconds: less than a supervisor
/// gives its child.
const ANSWER_WITHIN: u64 = 3;
/// How often the actor shows that it lives.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The HTTP server.
pub struct HttpServer {
    listener: Arc<TcpListener>,
    site: web::Data<Site>,
    reporter: Reporter,
    life: Option<Life>,
}

/// A web server that stops when this is dropped, whatever way the actor ends.
struct Life(ServerHandle);

impl Drop for Life {
    fn drop(&mut self) {
        // The order is given by the call; the future only waits for its end.
        drop(self.0.stop(true));
    }
}

impl HttpServer {
    pub(super) fn new(
        listener: Arc<TcpListener>,
        site: web::Data<Site>,
        reporter: Reporter,
    ) -> Self {
        Self {
            listener,
            site,
            reporter,
            life: None,
        }
    }

    #[cfg(test)]
    pub(super) fn site(&self) -> web::Data<Site> {
        self.site.clone()
    }

    fn serve(&self) -> io::Result<Server> {
        let listener = self.listener.try_clone()?;
        // each connection inherits it (tcp(7)): actix-http bounds no writing
        SockRef::from(&listener).set_tcp_user_timeout(Some(TAKEN_WITHIN))?;
        let site = self.site.clone();
        let server = actix_web::HttpServer::new(move || {
            App::new()
                .app_data(site.clone())
                .wrap(middleware::from_fn(routes::panic_is_500))
                .configure(routes::configure)
        })
        .workers(WORKERS)
        // actix-http 3 bounds the time of the first request's headers alone: a connection that is kept is kept for ever by
        // who begins a second request and does not end it
        .keep_alive(KeepAlive::Disabled)
        .max_connections(CONNECTIONS_PER_WORKER)
        .client_request_timeout(HEADERS_WITHIN)
        .shutdown_timeout(ANSWER_WITHIN)
        .disable_signals()
        .listen(listener)?;
        Ok(server.run())
    }
}

impl Actor for HttpServer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        let address = self.listener.local_addr();
        let server = match (self.serve(), address) {
            (Ok(server), Ok(address)) => {
                self.reporter.running(format!("listens on {address}"));
                server
            }
            (Err(error), _) | (_, Err(error)) => {
                self.reporter
                    .failed(format!("the HTTP server cannot start: {error}"));
                return context.stop();
            }
        };
        self.life = Some(Life(server.handle()));
        context.run_interval(HEARTBEAT, |actor, _| actor.reporter.tick());
        // A task of its own: it ends in order even when the actor does not.
        let ended = actix::spawn(server);
        context.spawn(ended.into_actor(self).map(|ended, actor, context| {
            if actor.life.take().is_some() {
                let error = match ended {
                    Ok(Ok(())) => "it was stopped by somebody else".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(error) => error.to_string(),
                };
                let error = format!("the HTTP server ended by itself: {error}");
                actor.reporter.failed(error);
            }
            context.stop();
        }));
    }

    /// Stops the web server first, and then, when that has answered what it was asked, the actor.
    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        match self.life.take() {
            Some(_) => Running::Continue,
            None => Running::Stop,
        }
    }
}
