//! The HTTP server's shell: a web server for each life of the actor, and for each listener that it is
//! given.

use std::{io, net::TcpListener, sync::Arc, time::Duration};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Running, WrapFuture};
use actix_web::{App, dev::Server, http::KeepAlive, middleware, web};
use socket2::SockRef;
use supervisors::Reporter;
use tokio::sync::watch;

use super::{
    once,
    routes::{self, Site},
};
use crate::web::{Life, Serves};

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
/// How often the actor shows that it lives, and what histograms observed is summed up.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The HTTP server.
pub struct HttpServer {
    listener: watch::Receiver<Arc<TcpListener>>,
    site: web::Data<Site>,
    reporter: Reporter,
    life: Option<Life>,
}

impl HttpServer {
    pub(super) fn new(
        listener: watch::Receiver<Arc<TcpListener>>,
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

    /// Serves at the present listener. The one before it is closed once this one answers.
    fn open(&mut self, context: &mut Context<Self>) {
        let listener = self.listener.borrow_and_update().clone();
        let started = self
            .serve(&listener)
            .and_then(|server| Ok((server, listener.local_addr()?)));
        match started {
            Ok((server, address)) => {
                self.reporter.running(format!("listens on {address}"));
                self.tend(server, context);
            }
            Err(error) => {
                let error = format!("the HTTP server cannot start: {error}");
                self.reporter.failed(error);
                context.stop();
            }
        }
    }

    /// Moves on when there is another listener.
    fn follow(&self, context: &mut Context<Self>) {
        let mut listener = self.listener.clone();
        let changed = async move { listener.changed().await };
        context.spawn(changed.into_actor(self).map(|changed, server, context| {
            // Whoever could change it may be gone.
            if changed.is_ok() {
                server.open(context);
                server.follow(context);
            }
        }));
    }

    fn serve(&self, listener: &TcpListener) -> io::Result<Server> {
        let listener = listener.try_clone()?;
        // each connection inherits it (tcp(7)): actix-http bounds no writing
        SockRef::from(&listener).set_tcp_user_timeout(Some(TAKEN_WITHIN))?;
        let site = self.site.clone();
        let server = actix_web::HttpServer::new(move || {
            App::new()
                .app_data(site.clone())
                .wrap(middleware::from_fn(routes::panic_is_500))
                .wrap(middleware::from_fn(once::is_first))
                .configure(routes::configure)
        })
        .workers(WORKERS)
        // actix-http 3 bounds the time of the first request's headers alone: a connection that is kept is kept for ever by
        // who begins a second request and does not end it
        .keep_alive(KeepAlive::Disabled)
        .on_connect(|_, of_connection| once::begins(of_connection))
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
        self.open(context);
        self.follow(context);
        context.run_interval(HEARTBEAT, |actor, _| {
            actor.reporter.tick();
            actor.site.metrics.upkeep();
        });
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        self.close()
    }
}

impl Serves for HttpServer {
    fn life(&mut self) -> &mut Option<Life> {
        &mut self.life
    }

    fn ended(&mut self, error: String) {
        let error = format!("the HTTP server ended by itself: {error}");
        self.reporter.failed(error);
    }
}
