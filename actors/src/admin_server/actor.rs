//! The admin server's shell: the socket is made once and kept over the actor's lives, a web server
//! runs for each life of the actor.

use std::{
    io,
    os::unix::net::UnixListener,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Running, WrapFuture};
use actix_web::{App, dev::Server, middleware, web};
use supervisors::Reporter;

use super::{
    Config, access,
    routes::{self, Site},
    socket::Bound,
};
use crate::{
    http_server,
    web::{Life, Serves},
};

/// How many may be connected.
const CONNECTIONS: usize = 64;
/// A client that has not sent its headers by then is sent away.
const HEADERS_WITHIN: Duration = Duration::from_secs(5);
/// What is being answered when the server stops gets so long, in seconds.
const ANSWER_WITHIN: u64 = 3;
/// How long a socket that cannot be made is left before the next try.
const BIND_AGAIN: Duration = Duration::from_secs(5);
/// How often it is looked after whether the socket file is still there.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// The socket, over all lives of the actor.
pub(super) type Shared = Arc<Mutex<Option<Bound>>>;

/// The admin server.
pub struct AdminServer {
    config: Config,
    site: web::Data<Site>,
    bound: Shared,
    reporter: Reporter,
    life: Option<Life>,
}

impl AdminServer {
    pub(super) fn new(
        config: Config,
        site: web::Data<Site>,
        bound: Shared,
        reporter: Reporter,
    ) -> Self {
        Self {
            config,
            site,
            bound,
            reporter,
            life: None,
        }
    }

    fn open(&mut self, context: &mut Context<Self>) {
        let (config, bound) = (self.config.clone(), self.bound.clone());
        let opening = tokio::task::spawn_blocking(move || listener(&config, &bound));
        let then = opening.into_actor(self).map(|opened, server, context| {
            let error = match opened {
                Ok(Ok(listener)) => match server.serve(listener) {
                    Ok(web_server) => return server.opened(web_server, context),
                    Err(error) => format!("the web server cannot start: {error}"),
                },
                Ok(Err(error)) => error,
                Err(error) => error.to_string(),
            };
            let detail = "the commands cannot reach this daemon";
            server.reporter.degraded(detail, error);
            context.run_later(BIND_AGAIN, Self::open);
        });
        context.spawn(then);
    }

    fn serve(&self, listener: UnixListener) -> io::Result<Server> {
        let site = self.site.clone();
        let server = actix_web::HttpServer::new(move || {
            App::new()
                .app_data(site.clone())
                .wrap(middleware::from_fn(http_server::panic_is_500))
                .configure(routes::configure)
        })
        .workers(1)
        .max_connections(CONNECTIONS)
        .client_request_timeout(HEADERS_WITHIN)
        .shutdown_timeout(ANSWER_WITHIN)
        .disable_signals()
        .on_connect(access::note)
        .listen_uds(listener)?;
        Ok(server.run())
    }

    fn opened(&mut self, server: Server, context: &mut Context<Self>) {
        let path = self.config.socket.display();
        self.reporter.running(format!("listens on {path}"));
        Serves::tend(self, server, context);
        context.run_interval(LOOK_AFTER, |actor, _| {
            let lost = lock(&actor.bound).as_ref().is_some_and(|it| !it.is_there());
            if lost {
                let path = actor.config.socket.display();
                actor
                    .reporter
                    .failed(format!("{path} was removed or replaced; it is made again"));
            }
        });
    }

    /// Nobody can connect from here on.
    fn remove_socket(&mut self) {
        if let Some(bound) = lock(&self.bound).take() {
            bound.remove();
        }
    }
}

fn lock(bound: &Shared) -> std::sync::MutexGuard<'_, Option<Bound>> {
    bound.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listener(config: &Config, bound: &Shared) -> Result<UnixListener, String> {
    let mut bound = lock(bound);
    if let Some(known) = bound.as_ref().filter(|it| it.is_there()) {
        return known.listener().map_err(|error| error.to_string());
    }
    *bound = None;
    let made = Bound::at(&config.socket, &config.group).map_err(|error| error.to_string())?;
    let listener = made.listener().map_err(|error| error.to_string())?;
    *bound = Some(made);
    Ok(listener)
}

impl Actor for AdminServer {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.open(context);
    }

    fn stopping(&mut self, _: &mut Context<Self>) -> Running {
        self.remove_socket();
        self.close()
    }
}

impl Serves for AdminServer {
    fn life(&mut self) -> &mut Option<Life> {
        &mut self.life
    }

    fn ended(&mut self, error: String) {
        self.reporter
            .failed(format!("the admin server ended by itself: {error}"));
    }
}
