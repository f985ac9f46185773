//! Prints what happens in Sōzu, and when something may have been missed.
//!
//! `cargo run --example events -- /run/sozu/command.sock`

use std::io::{self, Write};

use sozu_socket::{Builder, Heard, Pool};

#[tokio::main]
async fn main() -> io::Result<()> {
    let Some(socket) = std::env::args_os().nth(1) else {
        return Err(io::Error::other("usage: events COMMAND_SOCKET"));
    };
    print(&Builder::new(socket).build(), io::stdout()).await
}

async fn print(pool: &Pool, mut out: impl Write) -> io::Result<()> {
    let mut events = pool.events();
    loop {
        match events.next().await {
            Heard::Subscribed => writeln!(out, "listening; what happened before is not known")?,
            Heard::Lost { why } => writeln!(out, "nothing is heard: {why}")?,
            Heard::Event { worker, event } => {
                let who = worker.map_or("main".to_owned(), |id| format!("worker {id}"));
                write!(out, "{who}: {}", event.kind().as_str_name())?;
                for about in [&event.cluster_id, &event.backend_id] {
                    write!(out, " {}", about.as_deref().unwrap_or("-"))?;
                }
                writeln!(out)?;
            }
            _ => {}
        }
        out.flush()?;
    }
}
