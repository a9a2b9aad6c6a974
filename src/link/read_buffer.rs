//! What was read of a lane and is not yet handled.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

/// The least room for a read; what an idle lane holds.
const READ_BYTES_MIN: usize = 4 << 10;
/// The most room for a read.
const READ_BYTES_MAX: usize = 128 << 10;
/// After this long without a byte a lane holds no more than the least.
const IDLE: Duration = Duration::from_millis(100);
/// How much memory waits for its frames to be gone, to be used again.
const USED_BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    bytes: BytesMut,
    /// What `bytes` had when it was made.
    size: usize,
    /// Earlier ones of which frames may still hold slices, and their sizes: memory that is new to
    /// the process costs more than reading into it does.
    used: Vec<(BytesMut, usize)>,
    /// For the next read.
    room: usize,
}

impl Default for ReadBuffer {
    fn default() -> Self {
        Self { bytes: BytesMut::new(), size: 0, used: Vec::new(), room: READ_BYTES_MIN }
    }
}

impl ReadBuffer {
    pub(super) fn bytes(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }

    /// Reads what there is. When there is nothing for a while, most of the memory is given back.
    pub(super) async fn fill(&mut self, io: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        self.make_room();
        let is_large = self.size > READ_BYTES_MIN || !self.used.is_empty();
        let mut in_time = None;
        if is_large {
            in_time = timeout(IDLE, io.read_buf(&mut self.bytes)).await.ok();
            if in_time.is_none() {
                self.shrink();
            }
        }
        let read = match in_time {
            Some(read) => read?,
            None => io.read_buf(&mut self.bytes).await?,
        };
        // Room follows what comes, not what a length field says.
        self.room = (read * 2).clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        Ok(read)
    }

    fn make_room(&mut self) {
        let is_room = self.bytes.capacity() - self.bytes.len() >= self.room / 2;
        if is_room || self.bytes.try_reclaim(self.room) {
            return;
        }
        let size = (self.bytes.len() + self.room).next_power_of_two();
        let held = |used: &[(BytesMut, usize)]| used.iter().map(|(_, size)| size).sum::<usize>();
        while held(&self.used) + self.size > USED_BYTES_MAX && !self.used.is_empty() {
            self.used.remove(0);
        }
        let mut last = (std::mem::take(&mut self.bytes), self.size);
        let found = self.used.iter_mut().position(|(used, _)| used.try_reclaim(size));
        (self.bytes, self.size) = match found {
            Some(at) => self.used.swap_remove(at),
            None => (BytesMut::with_capacity(size), size),
        };
        self.bytes.extend_from_slice(&last.0);
        last.0.clear();
        if last.1 > READ_BYTES_MIN {
            self.used.push(last);
        }
    }

    /// Gives all memory back that no bytes wait in.
    fn shrink(&mut self) {
        self.used.clear();
        if self.bytes.is_empty() {
            (self.bytes, self.size) = (BytesMut::with_capacity(READ_BYTES_MIN), READ_BYTES_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    /// Bytes that come again only after a long while.
    fn pattern(len: usize) -> Vec<u8> {
        (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    }

    #[tokio::test]
    async fn bytes_come_in_order_while_frames_hold_slices_of_earlier_ones() {
        let sent = pattern(16 << 20);
        let (mut near, mut far) = duplex(200_000);
        let writing = tokio::spawn({
            let sent = sent.clone();
            async move { near.write_all(&sent).await.unwrap() }
        });
        let (mut buffer, mut frames, mut read) = (ReadBuffer::default(), Vec::new(), Vec::new());
        while buffer.fill(&mut far).await.unwrap() > 0 {
            // Whole frames of 50,000 bytes; the rest waits. Some are held longer than others.
            while buffer.bytes().len() >= 50_000 {
                frames.push(buffer.bytes().split_to(50_000).freeze());
            }
            if frames.len() > 70 {
                frames.drain(..64).for_each(|frame| read.extend_from_slice(&frame));
            }
            let held: usize = buffer.used.iter().map(|(_, size)| size).sum();
            assert!(held <= USED_BYTES_MAX, "{held} bytes are held");
        }
        writing.await.unwrap();
        frames.iter().for_each(|frame| read.extend_from_slice(frame));
        read.extend_from_slice(buffer.bytes());
        assert!(read == sent, "what was read is not what was sent");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_idle_holds_only_the_least() {
        let (mut near, mut far) = duplex(1 << 20);
        let (mut buffer, mut frames) = (ReadBuffer::default(), Vec::new());
        for _ in 0..5 {
            near.write_all(&[0; 300_000]).await.unwrap();
            let mut left = 300_000;
            while left > 0 {
                left -= buffer.fill(&mut far).await.unwrap();
                frames.push(buffer.bytes().split());
            }
        }
        assert!(buffer.size > READ_BYTES_MIN && !buffer.used.is_empty());
        timeout(IDLE * 2, buffer.fill(&mut far)).await.unwrap_err();
        assert_eq!((buffer.size, buffer.used.len()), (READ_BYTES_MIN, 0));
    }
}
