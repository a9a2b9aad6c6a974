//! A proxy in front of a node, which does to connections what networks do.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The lanes, by their number on the wire.
pub const RPC: u8 = 0;
pub const MESSAGE: u8 = 1;
pub const STREAM: u8 = 2;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Fin,
    Reset,
}

/// What becomes of the bytes of a direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    #[default]
    Pass,
    /// They stay in the buffers of the system.
    Stall,
    /// They are taken and never arrive; the connection can only be cut afterwards.
    Swallow,
    /// What is read first of a connection passes, the rest is swallowed.
    First,
}

/// What the proxy does now.
#[derive(Clone, Debug, Default)]
struct Order {
    /// Counts the cuts, so that each ends the connections of its time.
    cuts: [u64; 3],
    how: Option<Cut>,
    /// To the node behind the proxy, by lane.
    inward: [Flow; 3],
    /// From the node behind the proxy, by lane.
    outward: [Flow; 3],
    delay: Duration,
    is_refusing: bool,
}

#[derive(Debug)]
struct Shared {
    target: watch::Sender<SocketAddr>,
    order: watch::Sender<Order>,
    /// Connections made so far, by lane.
    made: [AtomicUsize; 3],
    /// Bytes that were swallowed, by lane.
    swallowed: watch::Sender<[usize; 3]>,
    /// Those that are open.
    open: watch::Sender<[usize; 3]>,
    /// What cuts the next connection of a lane.
    fuses: Mutex<[Option<Fuse>; 3]>,
}

/// Cuts a connection behind that many bytes of a direction.
#[derive(Clone, Copy, Debug)]
struct Fuse {
    is_inward: bool,
    bytes: usize,
    how: Cut,
}

/// See the module. Ends with its owner.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut(Cut::Reset);
    }
}

impl Proxy {
    /// Begins to pass on to `target` what comes.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: watch::Sender::new(target),
            order: watch::Sender::new(Order::default()),
            made: Default::default(),
            swallowed: watch::Sender::new([0; 3]),
            open: watch::Sender::new([0; 3]),
            fuses: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { shared, address, task }
    }

    /// What discovery is to say of the node.
    pub fn network(&self) -> String {
        self.address.to_string()
    }

    /// Later connections go elsewhere.
    pub fn retarget(&self, target: SocketAddr) {
        self.shared.target.send_replace(target);
    }

    /// Ends all connections there are.
    pub fn cut(&self, how: Cut) {
        for lane in [RPC, MESSAGE, STREAM] {
            self.cut_lane(lane, how);
        }
    }

    /// Ends the connections of a lane.
    pub fn cut_lane(&self, lane: u8, how: Cut) {
        self.shared.order.send_modify(|order| {
            order.cuts[index(lane)] += 1;
            order.how = Some(how);
        });
    }

    /// Ends the next connection of a lane behind its first `bytes` to the node behind the proxy,
    /// or from it.
    pub fn cut_behind(&self, lane: u8, is_inward: bool, bytes: usize, how: Cut) {
        let fuse = Fuse { is_inward, bytes, how };
        self.shared.fuses.lock().unwrap()[index(lane)] = Some(fuse);
    }

    /// What becomes of the bytes to the node behind the proxy.
    pub fn inward(&self, lane: u8, flow: Flow) {
        self.shared.order.send_modify(|order| order.inward[index(lane)] = flow);
    }

    /// What becomes of the bytes from the node behind the proxy.
    pub fn outward(&self, lane: u8, flow: Flow) {
        self.shared.order.send_modify(|order| order.outward[index(lane)] = flow);
    }

    /// Whether all bytes, of all lanes and both ways, stay where they are.
    pub fn stall(&self, is_stalled: bool) {
        let flow = if is_stalled { Flow::Stall } else { Flow::Pass };
        self.shared.order.send_modify(|order| {
            (order.inward, order.outward) = ([flow; 3], [flow; 3]);
        });
    }

    /// Each read waits for this long before it is written.
    pub fn delay(&self, delay: Duration) {
        self.shared.order.send_modify(|order| order.delay = delay);
    }

    /// Whether new connections are closed at once.
    pub fn refuse(&self, is_refusing: bool) {
        self.shared.order.send_modify(|order| order.is_refusing = is_refusing);
    }

    /// Connections that were made so far on a lane.
    pub fn made(&self, lane: u8) -> usize {
        self.shared.made[index(lane)].load(Ordering::SeqCst)
    }

    /// Connections that are open on a lane.
    pub fn open(&self, lane: u8) -> usize {
        self.shared.open.borrow()[index(lane)]
    }

    /// Bytes of a lane that were swallowed so far.
    pub fn swallowed(&self, lane: u8) -> usize {
        self.shared.swallowed.borrow()[index(lane)]
    }

    /// Waits until that many bytes of a lane were swallowed.
    pub async fn until_swallowed(&self, lane: u8, bytes: usize) {
        let mut swallowed = self.shared.swallowed.subscribe();
        swallowed.wait_for(|swallowed| swallowed[index(lane)] >= bytes).await.unwrap();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if shared.order.borrow().is_refusing {
            reset(&client);
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // What goes wrong with a connection is seen by the nodes at its ends.
            drop(carry(client, &shared).await);
        });
    }
}

/// Counts an open connection.
struct Open<'a>(&'a Shared, usize);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| open[self.1] -= 1);
    }
}

async fn carry(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut order = shared.order.subscribe();
    let before = order.borrow().cuts;
    let target = *shared.target.borrow();
    let (hello, lane) = read_hello(&mut client).await?;
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    shared.made[lane].fetch_add(1, Ordering::SeqCst);
    shared.open.send_modify(|open| open[lane] += 1);
    let _open = Open(shared, lane);
    let cut = async {
        let order = order.wait_for(|order| order.cuts[lane] != before[lane]).await;
        order.ok().and_then(|order| order.how)
    };
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    let fuse = shared.fuses.lock().unwrap()[lane].take();
    let left = |is_inward| {
        let fuse = fuse.filter(|fuse| fuse.is_inward == is_inward);
        fuse.map_or(usize::MAX, |fuse| fuse.bytes)
    };
    let flow = |order: &Order| order.inward[lane];
    let inward = Way { shared, lane, flow, left: left(true) };
    let flow = |order: &Order| order.outward[lane];
    let outward = Way { shared, lane, flow, left: left(false) };
    let inward = inward.pass(hello, from_client, to_server);
    let outward = outward.pass(Vec::new(), from_server, to_client);
    let how = select! {
        biased;
        how = cut => how,
        // An error on one side ends both; an end does when both have come to theirs.
        passed = async { tokio::try_join!(inward, outward) } => match passed {
            Ok(_) => Some(Cut::Fin),
            Err(_) => Some(fuse.map_or(Cut::Reset, |fuse| fuse.how)),
        },
    };
    if how == Some(Cut::Reset) {
        reset(&client);
        reset(&server);
    }
    Ok(())
}

/// Reads the preface and the HELLO, which names the lane.
async fn read_hello(client: &mut TcpStream) -> io::Result<(Vec<u8>, usize)> {
    let mut bytes = vec![0; 10];
    client.read_exact(&mut bytes).await?;
    let len = usize::from(u16::from_be_bytes([bytes[8], bytes[9]]));
    bytes.resize(10 + len, 0);
    client.read_exact(&mut bytes[10..]).await?;
    let mut fields = &bytes[11..];
    while let [tag, high, low, rest @ ..] = fields {
        let (value, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        if *tag == 3 {
            let lane = index(value[0]);
            return Ok((bytes, lane));
        }
        fields = rest;
    }
    Err(io::Error::from(io::ErrorKind::InvalidData))
}

/// One direction of a connection.
struct Way<'a, F> {
    shared: &'a Shared,
    lane: usize,
    flow: F,
    /// Bytes that may pass before the connection is cut.
    left: usize,
}

impl<F: Fn(&Order) -> Flow> Way<'_, F> {
    async fn pass(
        &self,
        first: Vec<u8>,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
    ) -> io::Result<()> {
        let mut order = self.shared.order.subscribe();
        let mut left = self.left;
        let flows = |order: &Order| (self.flow)(order) != Flow::Stall;
        order.wait_for(flows).await.map(drop).ok();
        write(&mut to, &first, &mut left).await?;
        let mut buffer = vec![0; 16 << 10];
        let mut chunks = 0;
        loop {
            order.wait_for(flows).await.map(drop).ok();
            let read = select! {
                biased;
                // Stalled while it waited: what comes stays where it is.
                _ = order.wait_for(|order| !flows(order)) => continue,
                read = from.read(&mut buffer) => read?,
            };
            if read == 0 {
                return to.shutdown().await;
            }
            let (flow, delay) = {
                let order = order.borrow();
                ((self.flow)(&order), order.delay)
            };
            chunks += 1;
            if flow == Flow::Swallow || (flow == Flow::First && chunks > 1) {
                self.shared.swallowed.send_modify(|swallowed| swallowed[self.lane] += read);
                continue;
            }
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            write(&mut to, &buffer[..read], &mut left).await?;
        }
    }
}

/// Writes no more than what is left until the cut.
async fn write(to: &mut WriteHalf<'_>, bytes: &[u8], left: &mut usize) -> io::Result<()> {
    to.write_all(&bytes[..bytes.len().min(*left)]).await?;
    *left = left.saturating_sub(bytes.len());
    if *left == 0 { Err(io::Error::other("cut")) } else { Ok(()) }
}

/// Where arrays by lane have it.
fn index(lane: u8) -> usize {
    usize::from(lane - RPC)
}

/// The end of the stream will be a reset.
fn reset(stream: &TcpStream) {
    SockRef::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
}
