//! A scripted peer: it answers `ListWorkers` itself and hands every other request to the test.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use prost::Message;
use sozu_command_lib::proto::command::{
    Event, EventKind, Request, Response, ResponseContent, ResponseStatus, WorkerInfo, WorkerInfos,
    request::RequestType, response_content::ContentType,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinSet,
    time::timeout,
};

/// What is told of the workers, and how often it was.
type Workers = Arc<Mutex<(Vec<WorkerInfo>, usize)>>;

pub struct Peer {
    calls: mpsc::UnboundedReceiver<Call>,
    workers: Workers,
    /// Dropping it ends every connection that no test holds, and the listener.
    _serving: JoinSet<()>,
}

/// A request, and the connection on which it came.
pub struct Call {
    pub request: Request,
    pub stream: UnixStream,
    again: mpsc::UnboundedSender<Call>,
    workers: Workers,
}

impl Peer {
    pub fn listen(path: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let (again, calls) = mpsc::unbounded_channel();
        let workers = Workers::default();
        let mut serving = JoinSet::new();
        let told = Arc::clone(&workers);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, again.clone(), Arc::clone(&told)));
            }
        });
        Self {
            calls,
            workers,
            _serving: serving,
        }
    }

    /// The next request that is not about the workers.
    pub async fn call(&mut self) -> Call {
        let call = timeout(Duration::from_mins(1), self.calls.recv()).await;
        call.expect("nobody called").unwrap()
    }

    /// Whether nobody called so far.
    pub fn is_quiet(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }

    pub fn set_workers(&self, workers: &[(u32, i32)]) {
        self.workers.lock().unwrap().0 = workers
            .iter()
            .map(|&(id, pid)| WorkerInfo {
                id,
                pid,
                run_state: 0,
            })
            .collect();
    }

    /// Waits until it was asked for the workers twice more: the first answer has been understood then.
    pub async fn asked_twice_more(&self) {
        let asked = || self.workers.lock().unwrap().1;
        let before = asked();
        let asking = async {
            while asked() < before + 2 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_mins(1), asking)
            .await
            .expect("not asked");
    }
}

impl Call {
    /// The cluster that the request removes: what the tests tell requests apart by.
    pub fn name(&self) -> String {
        match &self.request.request_type {
            Some(RequestType::RemoveCluster(name)) => name.clone(),
            other => panic!("{other:?}"),
        }
    }

    pub async fn say(&mut self, status: ResponseStatus, message: &str) {
        self.stream
            .write_all(&frame(status, message))
            .await
            .unwrap();
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Answers `OK` with these words, and serves the connection on.
    pub async fn answer(mut self, message: &str) {
        self.say(ResponseStatus::Ok, message).await;
        tokio::spawn(serve(self.stream, self.again, self.workers));
    }

    /// Reads the next request that comes on the same connection.
    pub async fn again(&mut self) {
        let reading = timeout(Duration::from_mins(1), read(&mut self.stream)).await;
        self.request = reading.expect("nothing came").expect("hung up");
    }

    /// Whether the other side closed the connection: waits for it.
    pub async fn hung_up(&mut self) {
        let mut byte = [0];
        let reading = timeout(Duration::from_mins(1), self.stream.read(&mut byte)).await;
        assert_eq!(reading.expect("still connected").unwrap_or(0), 0);
    }
}

pub fn request(name: &str) -> Request {
    RequestType::RemoveCluster(name.to_owned()).into()
}

pub fn frame(status: ResponseStatus, message: &str) -> Vec<u8> {
    framed(&Response {
        status: status.into(),
        message: message.to_owned(),
        content: None,
    })
}

/// What Sōzu says of an event; `who` is `main` or a worker's id.
pub fn event(who: &str, kind: EventKind, cluster_id: Option<&str>) -> Vec<u8> {
    let event = Event {
        kind: kind.into(),
        cluster_id: cluster_id.map(str::to_owned),
        ..Event::default()
    };
    framed(&Response {
        status: ResponseStatus::Processing.into(),
        message: who.to_owned(),
        content: Some(ResponseContent {
            content_type: Some(ContentType::Event(event)),
        }),
    })
}

fn framed(response: &Response) -> Vec<u8> {
    let payload = response.encode_to_vec();
    let mut frame = (payload.len() as u64 + 8).to_le_bytes().to_vec();
    frame.extend(payload);
    frame
}

async fn serve(mut stream: UnixStream, again: mpsc::UnboundedSender<Call>, workers: Workers) {
    while let Some(request) = read(&mut stream).await {
        if !matches!(request.request_type, Some(RequestType::ListWorkers(_))) {
            let call = Call {
                request,
                stream,
                again: again.clone(),
                workers,
            };
            let _ = again.send(call);
            return;
        }
        let vec = {
            let mut told = workers.lock().unwrap();
            told.1 += 1;
            told.0.clone()
        };
        let response = Response {
            status: ResponseStatus::Ok.into(),
            message: String::new(),
            content: Some(ResponseContent {
                content_type: Some(ContentType::Workers(WorkerInfos { vec })),
            }),
        };
        if stream.write_all(&framed(&response)).await.is_err() {
            return;
        }
    }
}

pub async fn read(stream: &mut UnixStream) -> Option<Request> {
    let length = stream.read_u64_le().await.ok()?;
    let mut payload = vec![0; usize::try_from(length).unwrap() - 8];
    stream.read_exact(&mut payload).await.ok()?;
    Some(Request::decode(payload.as_slice()).unwrap())
}
