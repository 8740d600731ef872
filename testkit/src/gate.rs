//! [`Gate`]: a proxy in front of a broker, which sees each call of Kafka's protocol.
//!
//! A test says, call by call, what becomes of it; it is asked before anything is sent on.
//! Invariant: what becomes of a call is what its name says and nothing more, so that a test knows
//! whether the broker has seen it.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::serving::Serving;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// It is sent on, and answered.
    Through,
    /// It is kept, with what comes behind it, until [`Gate::let_go`] or [`Gate::cut`].
    Hold,
    /// It is carried out, and the connection is cut in place of the answer.
    Swallow,
}

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Records are written.
    Produce,
    /// Records are read.
    Fetch,
    /// The offset of a group is read.
    ReadOffsets,
    /// A transactional id is taken over.
    TakeOver,
    /// The offset of a group is written, as part of a transaction.
    WriteOffsets,
    /// A transaction is ended.
    End,
    /// Something else, by its number.
    Other(i16),
}

impl Call {
    fn of(api: i16) -> Self {
        match api {
            0 => Self::Produce,
            1 => Self::Fetch,
            9 => Self::ReadOffsets,
            22 => Self::TakeOver,
            28 => Self::WriteOffsets,
            26 => Self::End,
            other => Self::Other(other),
        }
    }
}

type Rule = Box<dyn FnMut(Call) -> Passage + Send>;

/// What becomes of what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Goes,
    IsCut,
}

struct Shared {
    broker: SocketAddr,
    rule: Mutex<Rule>,
    /// Told anew each time that what is held is to go.
    held: watch::Sender<Held>,
}

/// A proxy on a thread of its own. Ends when it is dropped, and cuts its connections.
pub struct Gate {
    shared: Arc<Shared>,
    serving: Serving,
}

/// More than any message of a test.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

impl Gate {
    /// A gate in front of a port on loopback that lets everything through.
    pub(crate) fn to(port: u16) -> Self {
        let shared = Arc::new(Shared {
            broker: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            rule: Mutex::new(Box::new(|_| Passage::Through)),
            held: watch::Sender::new(Held::Goes),
        });
        let served = shared.clone();
        let serving = Serving::start(|listener| serve(listener, served));
        Self { shared, serving }
    }

    /// Where it listens: `bootstrap.servers`.
    pub fn address(&self) -> String {
        self.serving.address.to_string()
    }

    /// From now on, what becomes of each call.
    pub fn rule(&self, rule: impl FnMut(Call) -> Passage + Send + 'static) {
        *self.shared.rule.lock().unwrap_or_else(PoisonError::into_inner) = Box::new(rule);
    }

    /// What is held is sent on, also where the client is gone; from now on everything goes through.
    pub fn let_go(&self) {
        self.rule(|_| Passage::Through);
        self.shared.held.send_replace(Held::Goes);
    }

    /// What is held never reaches the broker; from now on everything goes through.
    pub fn cut(&self) {
        self.rule(|_| Passage::Through);
        self.shared.held.send_replace(Held::IsCut);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        let shared = shared.clone();
        connections.spawn(async move {
            // A broker that is down refuses the client by it.
            let Ok(broker) = TcpStream::connect(shared.broker).await else { return };
            let _ = (client.set_nodelay(true), broker.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_broker, to_broker) = broker.into_split();
            let swallowed = Arc::default();
            tokio::select! {
                _ = calls(&shared, from_client, to_broker, &swallowed) => {}
                _ = answers(from_broker, to_client, &swallowed) => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

/// The numbers of calls whose answers nobody is to see.
type Swallowed = Arc<Mutex<HashSet<i32>>>;

async fn calls(
    shared: &Shared,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    swallowed: &Swallowed,
) -> io::Result<()> {
    loop {
        let message = message(&mut from).await?;
        let (Some(api), Some(number)) = (message.get(..2), message.get(4..8)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let call = Call::of(i16::from_be_bytes(api.try_into().unwrap()));
        let mut held = shared.held.subscribe();
        let passage = shared.rule.lock().unwrap_or_else(PoisonError::into_inner)(call);
        match passage {
            Passage::Through => {}
            Passage::Hold => {
                let _ = held.changed().await;
                if *held.borrow() == Held::IsCut {
                    return Ok(());
                }
            }
            Passage::Swallow => {
                let number = i32::from_be_bytes(number.try_into().unwrap());
                swallowed.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
            }
        }
        send(&mut to, &message).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    swallowed: &Swallowed,
) -> io::Result<()> {
    loop {
        let message = message(&mut from).await?;
        let Some(number) = message.get(..4) else { return Err(io::ErrorKind::InvalidData.into()) };
        let number = i32::from_be_bytes(number.try_into().unwrap());
        if swallowed.lock().unwrap_or_else(PoisonError::into_inner).contains(&number) {
            return Ok(());
        }
        send(&mut to, &message).await?;
    }
}

/// A message of Kafka's protocol, without its size.
async fn message(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let size = usize::try_from(from.read_i32().await?).unwrap_or(usize::MAX);
    if size > MESSAGE_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; size];
    from.read_exact(&mut message).await?;
    Ok(message)
}

async fn send(to: &mut OwnedWriteHalf, message: &[u8]) -> io::Result<()> {
    to.write_all(&[&(message.len() as i32).to_be_bytes(), message].concat()).await
}
