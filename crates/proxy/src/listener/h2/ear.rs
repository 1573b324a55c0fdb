//! Listens to a client's frames for what h2 lets pass unseen: it throws pseudo-fields of trailers away, and `http` cuts the
//! fragment off a `:path`. Both are malformed (RFC 9113 sections 8.1 and 8.3.1), and whoever sends them does not mean what
//! would be served.
//!
//! Nothing is kept from h2 or changed for it; it has the same bytes right afterwards, and a stream that is condemned here is
//! refused when it is accepted, or when its trailers are read. DATA is skipped by its length, so the cost is that of the
//! header blocks: 300 instructions for one of which all is indexed, 1,500 with a compressed path of 28 octets.

use std::io;

use super::fields::Table;
use super::wire::Ledger;

/// RFC 9113 section 3.4.
const PREFACE: usize = 24;
/// RFC 9113 section 4.1.
const HEAD: usize = 9;
/// What may be sent without our saying more (RFC 9113 section 4.2).
const MAX_FRAME: usize = 16 * 1024;
/// A block of less than this beyond the limit of its fields is h2's to refuse.
const SLACK: usize = 64 * 1024;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// One connection's; see the module.
#[derive(Debug)]
pub(super) struct Ear {
    state: State,
    table: Table,
    /// A block that does not end with its frame, or with what was read.
    block: Vec<u8>,
    /// Its frames are not all there.
    begun: bool,
    /// The largest stream so far.
    last: u32,
    /// Of a block.
    limit: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many bytes are of no interest.
    Skip(usize),
    /// So many bytes of a frame's head are there.
    Head([u8; HEAD], usize),
    /// A frame of a block, which begins there in `block` and of which so many bytes are missing.
    Block(Frame, usize, usize),
    /// Nothing of it can be understood: h2 will end the connection.
    Deaf,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Frame {
    fn of([a, b, c, kind, flags, i, j, k, l]: [u8; HEAD]) -> Self {
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Self { length, kind, flags, stream: u32::from_be_bytes([i, j, k, l]) & (u32::MAX >> 1) }
    }

    const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The part of its block in its payload; nothing if it is not valid.
    fn fragment(self, payload: &[u8]) -> Option<(usize, usize)> {
        if self.kind == CONTINUATION {
            return Some((0, payload.len()));
        }
        let (mut from, mut to) = (0, payload.len());
        if self.has(PADDED) {
            to = to.checked_sub(usize::from(*payload.first()?))?;
            from += 1;
        }
        if self.has(PRIORITY) {
            from += 5;
        }
        (from <= to).then_some((from, to))
    }
}

impl Ear {
    /// `max_header_bytes`: as h2 was told.
    pub(super) fn new(max_header_bytes: usize) -> Self {
        let limit = max_header_bytes.saturating_mul(4).saturating_add(SLACK);
        Self { state: State::Skip(PREFACE), table: Table::default(), block: Vec::new(), begun: false, last: 0, limit }
    }

    /// Takes what was just read.
    ///
    /// # Errors
    /// A block or the number of condemned streams is beyond any use: the connection is to end.
    pub(super) fn hear(&mut self, mut read: &[u8], ledger: &Ledger) -> io::Result<()> {
        while !read.is_empty() {
            match &mut self.state {
                State::Deaf => return Ok(()),
                State::Skip(left) => {
                    let count = read.len().min(*left);
                    read = &read[count..];
                    *left -= count;
                    if *left == 0 {
                        self.state = State::Head([0; HEAD], 0);
                    }
                }
                State::Head(head, have) => {
                    let count = read.len().min(HEAD - *have);
                    head[*have..*have + count].copy_from_slice(&read[..count]);
                    read = &read[count..];
                    *have += count;
                    if *have == HEAD {
                        let frame = Frame::of(*head);
                        read = self.frame(frame, read, ledger)?;
                    }
                }
                State::Block(frame, start, missing) => {
                    let (frame, start) = (*frame, *start);
                    let count = read.len().min(*missing);
                    self.block.extend_from_slice(&read[..count]);
                    read = &read[count..];
                    *missing -= count;
                    if *missing == 0 {
                        self.gather(frame, start, ledger)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// A frame begins; what of `read` is behind it, or its part.
    fn frame<'a>(&mut self, frame: Frame, read: &'a [u8], ledger: &Ledger) -> io::Result<&'a [u8]> {
        if self.begun != (frame.kind == CONTINUATION) {
            // Nothing comes between the frames of a block (RFC 9113 section 6.10).
            self.state = State::Deaf;
        } else if frame.kind != HEADERS && frame.kind != CONTINUATION {
            self.state = if frame.length == 0 { State::Head([0; HEAD], 0) } else { State::Skip(frame.length) };
        } else if frame.length > MAX_FRAME {
            self.state = State::Deaf;
        } else if self.block.len() + frame.length > self.limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a header block without an end"));
        } else if let Some((payload, rest)) = read.split_at_checked(frame.length)
            && !self.begun
            && frame.has(END_HEADERS)
        {
            // Nearly all: it is there as a whole.
            self.state = State::Head([0; HEAD], 0);
            match frame.fragment(payload) {
                Some((from, to)) => self.judge(frame.stream, &payload[from..to], ledger)?,
                None => self.state = State::Deaf,
            }
            return Ok(rest);
        } else {
            let start = self.block.len();
            self.state = State::Block(frame, start, frame.length);
            if frame.length == 0 {
                self.gather(frame, start, ledger)?;
            }
        }
        Ok(read)
    }

    /// A frame of a block is there to its end.
    fn gather(&mut self, frame: Frame, start: usize, ledger: &Ledger) -> io::Result<()> {
        self.state = State::Head([0; HEAD], 0);
        let Some((from, to)) = frame.fragment(&self.block[start..]) else {
            self.state = State::Deaf;
            return Ok(());
        };
        self.block.truncate(start + to);
        self.block.drain(start..start + from);
        self.begun = !frame.has(END_HEADERS);
        if !self.begun {
            let block = std::mem::take(&mut self.block);
            self.judge(frame.stream, &block, ledger)?;
        }
        Ok(())
    }

    /// A block is there to its end. One for a stream that was there before is of trailers.
    fn judge(&mut self, stream: u32, block: &[u8], ledger: &Ledger) -> io::Result<()> {
        let Ok(said) = self.table.read(block) else {
            self.state = State::Deaf;
            return Ok(());
        };
        let trails = stream <= self.last;
        self.last = self.last.max(stream);
        let is_malformed = if trails { said.any } else { said.fragment };
        if is_malformed { ledger.condemn(stream) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] = &[0x83, 0x86, 0x84];

    fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
    }

    /// A literal that is not indexed, not compressed.
    fn literal(name: &str, value: &str) -> Vec<u8> {
        let text = |text: &str| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat();
        [vec![0], text(name), text(value)].concat()
    }

    /// Which streams are condemned, whatever the pieces in which the bytes come.
    fn condemned(frames: &[Vec<u8>]) -> Vec<u32> {
        let bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames.concat()].concat();
        let of = |size: usize| {
            let ledger = Ledger::default();
            let mut ear = Ear::new(1 << 16);
            for piece in bytes.chunks(size) {
                ear.hear(piece, &ledger).expect("it goes on");
            }
            (0..20).filter(|stream| ledger.is_condemned(*stream)).collect::<Vec<_>>()
        };
        let whole = of(bytes.len());
        for size in 1..40 {
            assert_eq!(of(size), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn a_pseudo_field_in_trailers_condemns_its_stream_alone() {
        let body = frame(0, 0, 3, b"\0\0\x01\x01\x05 no frame");
        for (trailers, expected) in [
            (literal("x-end", "1"), vec![]),
            (literal(":path", "/"), vec![3]),
            (vec![0x88], vec![3]),
            ([literal("x", "y"), literal(":odd", "")].concat(), vec![3]),
        ] {
            let frames = [
                frame(4, 0, 0, &[]),
                frame(HEADERS, END_HEADERS, 3, POST),
                frame(HEADERS, END_HEADERS, 5, POST),
                body.clone(),
                frame(HEADERS, END_HEADERS | 1, 3, &trailers),
                frame(HEADERS, END_HEADERS | 1, 5, &literal("x", "y")),
            ];
            assert_eq!(condemned(&frames), expected);
        }
    }

    #[test]
    fn a_fragment_in_a_path_condemns_its_stream_however_it_is_written() {
        // `/#`, compressed: 011000 111111111010, filled with ones.
        let compressed = [0x44, 0x83, 0x63, 0xfe, 0xbf];
        let frames = [
            frame(HEADERS, END_HEADERS | 1, 1, &literal(":path", "/a#b")),
            frame(HEADERS, END_HEADERS | 1, 3, &compressed),
            // The same, from the table.
            frame(HEADERS, END_HEADERS | 1, 5, &[0xbe]),
            frame(HEADERS, END_HEADERS | 1, 7, &literal(":path", "/a?b")),
            frame(HEADERS, END_HEADERS | 1, 9, &literal("x", "#")),
        ];

        assert_eq!(condemned(&frames), [1, 3, 5]);
    }

    #[test]
    fn padding_priority_and_continuations_are_no_way_around() {
        let block = literal(":path", "/a#b");
        let (first, second) = block.split_at(5);
        let priority = [&[0, 0, 0, 0, 9][..], &block].concat();
        let both = [&[4, 0, 0, 0, 0, 9][..], &block, &[0; 4]].concat();
        let frames = [
            frame(HEADERS, END_HEADERS | PRIORITY, 1, &priority),
            frame(HEADERS, END_HEADERS | PRIORITY | PADDED, 3, &both),
            frame(HEADERS, 0, 5, &[]),
            frame(CONTINUATION, 0, 5, first),
            frame(CONTINUATION, END_HEADERS, 5, second),
            frame(HEADERS, PADDED, 7, &[&[2][..], first, &[0, 0]].concat()),
            frame(CONTINUATION, END_HEADERS, 7, second),
        ];

        assert_eq!(condemned(&frames), [1, 3, 5, 7]);
    }

    #[test]
    fn a_block_without_an_end_and_too_many_condemned_streams_end_the_connection() {
        let ledger = Ledger::default();
        let mut ear = Ear::new(0);
        ear.hear(&[0; PREFACE], &ledger).expect("a preface");
        ear.hear(&frame(HEADERS, 0, 1, &[]), &ledger).expect("it begins");
        let more = frame(CONTINUATION, 0, 1, &vec![0; MAX_FRAME]);
        let endless = (0..5).map(|_| ear.hear(&more, &ledger)).collect::<Result<Vec<_>, _>>();
        assert!(endless.is_err());

        let mut ear = Ear::new(0);
        ear.hear(&[0; PREFACE], &ledger).expect("a preface");
        let request = frame(HEADERS, END_HEADERS, 1, &literal(":path", "#"));
        let many = (0..500).map(|_| ear.hear(&request, &ledger)).collect::<Result<Vec<_>, _>>();
        assert!(many.is_err());
    }
}
