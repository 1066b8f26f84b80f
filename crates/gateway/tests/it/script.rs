//! A script for a gRPC service: the response to each type of request, and the requests that arrived.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use turnpike_fault::Fault;

#[derive(Clone, Default)]
pub struct Script(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    handlers: HashMap<TypeId, Handler>,
    received: Vec<Received>,
}

/// The items of a streamed response.
pub type Items<T> = ReceiverStream<Result<T, Status>>;

type Handler = Arc<dyn Fn(&dyn Any) -> Result<Box<dyn Any>, Status> + Send + Sync>;

struct Received {
    authorization: String,
    message: Box<dyn Any + Send>,
}

impl Script {
    /// From now on, requests of this type get this response.
    pub fn respond<Q: 'static, A: Clone + Send + Sync + 'static>(&self, response: A) {
        self.respond_with(move |_: &Q| Ok::<A, Fault>(response.clone()));
    }

    /// From now on, requests of this type fail.
    pub fn fail<Q: 'static, A: 'static>(&self, fault: Fault) {
        self.respond_with(move |_: &Q| Err::<A, Fault>(fault.clone()));
    }

    /// The next request of this type gets this stream of items. The sender is closed when the stream is dropped.
    pub fn stream<Q: 'static, T: Send + 'static>(&self) -> mpsc::Sender<Result<T, Status>> {
        let (sender, receiver) = mpsc::channel(64);
        let stream = Mutex::new(Some(ReceiverStream::new(receiver)));
        self.respond_with(move |_: &Q| Ok::<Items<T>, Fault>(stream.lock().take().expect("one request")));
        sender
    }

    pub fn respond_with<Q: 'static, A: 'static>(
        &self,
        handler: impl Fn(&Q) -> Result<A, Fault> + Send + Sync + 'static,
    ) {
        let handler: Handler = Arc::new(move |message| {
            let message = message.downcast_ref().expect("the type that it is registered for");
            Ok(Box::new(handler(message)?) as Box<dyn Any>)
        });
        self.0.lock().handlers.insert(TypeId::of::<Q>(), handler);
    }

    /// The requests of this type so far.
    pub fn received<Q: Clone + 'static>(&self) -> Vec<Q> {
        self.0.lock().received.iter().filter_map(|received| received.message.downcast_ref().cloned()).collect()
    }

    /// The `authorization` of the latest request of this type.
    pub fn authorization<Q: 'static>(&self) -> String {
        let inner = self.0.lock();
        let latest = inner.received.iter().rev().find(|received| received.message.is::<Q>());
        latest.expect("a request").authorization.clone()
    }

    /// Serves a request. A request without a script is unimplemented.
    pub fn serve<Q: Send + 'static, A: 'static>(&self, request: Request<Q>) -> Result<Response<A>, Status> {
        let authorization = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let authorization = authorization.unwrap_or_default().to_owned();
        let message = request.into_inner();
        let handler = self.0.lock().handlers.get(&TypeId::of::<Q>()).cloned();
        let response = handler.map_or_else(|| Err(Status::unimplemented("no script")), |handler| handler(&message));
        self.0.lock().received.push(Received { authorization, message: Box::new(message) });
        let response = response?.downcast().expect("the response of this method");
        Ok(Response::new(*response))
    }
}
