//! The players: TCP clients that play ping-pong, and know what each pong must say.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use seaway::{MessageReader, MessageWriter};
use seaway_testproto::arena::{Ping, Pong, State};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::{Result, game};

/// Pings that a player sends before it waits for their pongs.
const AT_ONCE: usize = 3;
const PING_BYTES_MAX: usize = 300;
/// Between a player's rounds.
const PAUSE: Duration = Duration::from_millis(200);

/// All that play.
pub(crate) struct Players {
    is_over: Arc<AtomicBool>,
    /// Of each, how many rounds it has played; the maximum once it has ended.
    rounds: Arc<[AtomicU64]>,
    tasks: JoinSet<Played>,
}

/// What a player has seen, or many.
#[derive(Default)]
pub(crate) struct Played {
    /// From a ping to its pong.
    pub(crate) times: Vec<Duration>,
    /// How often another run of a game went on, and how many players have seen that.
    pub(crate) moves: u64,
    pub(crate) moved: u64,
    /// Bytes that were sent, and those that the games have counted.
    pub(crate) sent: u64,
    pub(crate) counted: u64,
    /// Pongs that did not say what they must.
    pub(crate) wrong: u64,
    /// Pings without a pong.
    pub(crate) unanswered: u64,
    /// TCP connections that ended before their players did.
    pub(crate) dropped: u64,
}

impl Players {
    pub(crate) fn start(count: u32, gate: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let rounds: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let mut tasks = JoinSet::new();
        for number in 0..count {
            let (is_over, rounds) = (Arc::clone(&is_over), Arc::clone(&rounds));
            tasks.spawn(async move {
                let rounds = &rounds[number as usize];
                let mut player = Player::default();
                if let Err(error) = player.play(number, gate, &is_over, rounds).await {
                    eprintln!("player {number}: {error}");
                    player.played.dropped = 1;
                }
                rounds.store(u64::MAX, Relaxed);
                player.end()
            });
        }
        Self { is_over, rounds, tasks }
    }

    /// Waits until each has played so many rounds more.
    pub(crate) async fn play(&self, more: u64) {
        let enough = |rounds: &AtomicU64| rounds.load(Relaxed).saturating_add(more);
        let enough: Vec<_> = self.rounds.iter().map(enough).collect();
        for (rounds, enough) in self.rounds.iter().zip(enough) {
            while rounds.load(Relaxed) < enough {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }

    /// Lets all play to the end of their rounds; returns what they have seen.
    pub(crate) async fn stop(self) -> Played {
        self.is_over.store(true, Relaxed);
        self.tasks.join_all().await.into_iter().fold(Played::default(), Played::and)
    }
}

impl Played {
    /// Bytes that were sent and not counted; below 0 if some were counted twice.
    pub(crate) fn lost(&self) -> i128 {
        i128::from(self.sent) - i128::from(self.counted)
    }

    fn and(mut self, other: Self) -> Self {
        self.times.extend(other.times);
        self.moves += other.moves;
        self.moved += other.moved;
        self.sent += other.sent;
        self.counted += other.counted;
        self.wrong += other.wrong;
        self.unanswered += other.unanswered;
        self.dropped += other.dropped;
        self
    }
}

#[derive(Default)]
struct Player {
    /// Of each ping on its way when it left, and the state that its pong must have.
    expected: VecDeque<(Instant, State)>,
    /// The state after all pings.
    state: State,
    last: Option<Pong>,
    played: Played,
}

impl Player {
    async fn play(
        &mut self,
        number: u32,
        gate: SocketAddr,
        is_over: &AtomicBool,
        rounds: &AtomicU64,
    ) -> Result<()> {
        // Not all at the same time.
        sleep(PAUSE.mul_f64(rand::random())).await;
        // The one connection of this player, whatever happens behind the gate.
        let mut tcp = TcpStream::connect(gate).await?;
        tcp.set_nodelay(true)?;
        tcp.write_u32(number).await?;
        let (reader, writer) = tcp.into_split();
        let mut pongs = MessageReader::new(reader);
        let mut pings = MessageWriter::new(writer);
        while !is_over.load(Relaxed) {
            for _ in 0..AT_ONCE {
                pings.send(&self.ping()).await?;
            }
            for _ in 0..AT_ONCE {
                self.pong(&mut pongs).await?;
            }
            rounds.fetch_add(1, Relaxed);
            sleep(PAUSE).await;
        }
        // Some are on their way when it says that it goes.
        for _ in 0..AT_ONCE {
            pings.send(&self.ping()).await?;
        }
        pings.finish().await?;
        for _ in 0..AT_ONCE {
            self.pong(&mut pongs).await?;
        }
        match pongs.next::<Pong>().await? {
            None => Ok(()),
            Some(_) => Err("there was one pong too many".into()),
        }
    }

    fn ping(&mut self) -> Ping {
        let bytes = (0..rand::random_range(1..=PING_BYTES_MAX)).map(|_| rand::random()).collect();
        let ping = Ping { bytes };
        self.state = game::turn(self.state, &ping);
        self.expected.push_back((Instant::now(), self.state));
        ping
    }

    async fn pong(&mut self, pongs: &mut MessageReader<OwnedReadHalf>) -> Result<()> {
        let pong = pongs.next::<Pong>().await?.ok_or("the gate has hung up")?;
        let (sent, state) = self.expected.pop_front().ok_or("there was one pong too many")?;
        self.played.times.push(sent.elapsed());
        self.played.wrong += u64::from(pong.state != Some(state));
        let has_moved = self.last.as_ref().is_some_and(|last| last.run != pong.run);
        self.played.moves += u64::from(has_moved);
        self.last = Some(pong);
        Ok(())
    }

    fn end(self) -> Played {
        let counted = self.last.and_then(|pong| pong.state).map_or(0, |state| state.bytes);
        let moved = u64::from(self.played.moves > 0);
        let (sent, unanswered) = (self.state.bytes, self.expected.len() as u64);
        Played { sent, counted, moved, unanswered, ..self.played }
    }
}
