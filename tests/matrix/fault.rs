//! The table of faults: what goes wrong, what is asked meanwhile, and what must come of it.
//!
//! A row holds for every client, upstream and door alike. Where HTTP/2 has no such thing (a chunk, an idle 408) the
//! origin does its counterpart; `origin.rs` says which.

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nobody listens.
    Refused,
    /// Nobody answers the dial.
    BlackHole,
    /// The connection is taken and reset at once, before TLS.
    ResetAtConnect,
    /// The first request's answer breaks off.
    Broken(Point, How),
    /// The connection ends after each fifth answer.
    Stale,
    /// An idle connection says 408 (HTTP/2: GOAWAY) and ends.
    IdleGoodbye,
    /// Bytes follow each answer: on HTTP/1 a whole second response, on HTTP/2 DATA on the ended stream.
    Extra,
    /// The first request is answered with 413 once its head is there, and its body never read.
    Early,
    /// The first answer is late, the others never come.
    Latency,
    /// Each answer is late by another time.
    Jitter,
    /// A byte of the body each 100 ms.
    Drip,
    /// A body that stops half-way, without an end.
    Stall,
    /// This share of the answers is 503.
    Burst(usize),
    /// 429 with `Retry-After: 1`, then good.
    TooMany,
    /// Reads the request, never answers.
    Mute,
    /// Sends a body for as long as it is taken.
    Pour,
}

/// Where an answer breaks off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    BeforeHead,
    MidHead,
    MidBody,
    MidChunk,
    BeforeLastChunk,
    InTrailers,
}

/// In which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The connection ends in order; HTTP/2 says GOAWAY first where a frame may stand.
    Close,
    /// The connection is reset; HTTP/2 resets the stream instead where a frame may stand.
    Reset,
}

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Get,
    Post,
    /// A POST of which only a part is sent before the answer is read.
    Part,
    /// Leaves before the response head.
    LeaveBeforeHead,
    /// Leaves in the middle of its upload.
    LeaveMidUpload,
    /// Leaves after the first bytes of the response.
    LeaveMidDownload,
    /// Reads nothing at all, and leaves in the end.
    NeverRead,
}

/// What must come of it.
#[derive(Clone, Copy, Debug)]
pub enum Want {
    /// The upstream's own answer with this status, whole.
    Whole(u16),
    /// One of these statuses, whole, whoever made it.
    OneOf(&'static [u16]),
    /// An answer of the proxy's: status, and one of these reasons.
    Own(u16, &'static [&'static str]),
    /// No clean end.
    Cut,
    /// The upstream is told within a second, and never saw a clean end of the request unless it had one.
    Cancelled,
}

/// One line of a case: `times` requests one after another on one connection.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub ask: Ask,
    pub times: usize,
    pub want: Want,
    /// Requests that reach the upstream, all together.
    pub seen: (usize, usize),
    /// Milliseconds, each.
    pub took: (u64, u64),
}

/// One fault.
pub struct Case {
    /// Of section 4 of the conformance design.
    pub row: usize,
    pub name: &'static str,
    pub fault: Fault,
    /// There is a good endpoint beside the bad one.
    pub spare: bool,
    /// Lines of the route; without `breaker` it is off.
    pub lines: &'static [&'static str],
    pub steps: &'static [Step],
}

/// What a busy machine may add to a time.
pub const SLACK: u64 = 2_000;
/// Of the routes.
pub const CONNECT_MS: u64 = 300;
pub const ATTEMPT_MS: u64 = 1_500;
pub const IDLE_MS: u64 = 1_000;

const fn step(ask: Ask, want: Want, seen: usize) -> Step {
    Step { ask, times: 1, want, seen: (seen, seen), took: (0, SLACK) }
}

impl Step {
    const fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    const fn at_most(mut self, seen: usize) -> Self {
        self.seen.1 = seen;
        self
    }

    const fn took(mut self, least: u64, most: u64) -> Self {
        self.took = (least, most + SLACK);
        self
    }
}

const fn case(row: usize, name: &'static str, fault: Fault, steps: &'static [Step]) -> Case {
    Case { row, name, fault, spare: false, lines: &[], steps }
}

impl Case {
    const fn spare(mut self) -> Self {
        self.spare = true;
        self
    }

    const fn lines(mut self, lines: &'static [&'static str]) -> Self {
        self.lines = lines;
        self
    }
}

const fn broken(name: &'static str, point: Point, how: How, steps: &'static [Step]) -> Case {
    case(2, name, Fault::Broken(point, how), steps)
}

const OK: Want = Want::Whole(200);
/// What the connect of one attempt, three times, may take by the table: 0.2 s above its timeout each.
const DIALS: u64 = 3 * (CONNECT_MS + 200);

const REFUSED: &[Step] = &[
    step(Ask::Get, Want::Own(502, &["connect_refused"]), 0).took(0, DIALS),
    step(Ask::Post, Want::Own(502, &["connect_refused"]), 0).took(0, DIALS),
];
const BLACK_HOLE: &[Step] = &[
    step(Ask::Get, Want::Own(504, &["connect_timeout"]), 0).took(CONNECT_MS, DIALS),
    step(Ask::Post, Want::Own(504, &["connect_timeout"]), 0).took(CONNECT_MS, DIALS),
];
/// In the clear the request may be on its way already when the reset comes.
const RESET: Want = Want::Own(502, &["reset", "closed_early", "tls", "connect_refused"]);
const RESET_AT_CONNECT: &[Step] = &[step(Ask::Get, RESET, 0).took(0, DIALS), step(Ask::Post, RESET, 0).took(0, DIALS)];
/// Four, so that the bad endpoint has its turn.
const ELSEWHERE: &[Step] =
    &[step(Ask::Get, OK, 4).times(4).took(0, DIALS), step(Ask::Post, OK, 4).times(4).took(0, DIALS)];
/// A POST that was perhaps sent is not repeated, by no means twice.
const PERHAPS_ELSEWHERE: &[Step] =
    &[step(Ask::Get, OK, 4).times(4), step(Ask::Post, Want::OneOf(&[200, 502]), 0).at_most(4).times(4)];

/// The answer broke before its head was whole: nothing of it went out, so a GET is repeated, and a POST never.
const UNBEGUN_GET: &[Step] = &[step(Ask::Get, OK, 2), step(Ask::Get, OK, 1)];
const UNBEGUN_POST: &[Step] =
    &[step(Ask::Post, Want::Own(502, &["reset", "closed_early", "protocol"]), 1), step(Ask::Get, OK, 1)];
/// It broke later: never a clean end, nothing is repeated, and the next request is as good as ever.
const BEGUN_GET: &[Step] = &[step(Ask::Get, Want::Cut, 1), step(Ask::Get, OK, 1)];
const BEGUN_POST: &[Step] = &[step(Ask::Post, Want::Cut, 1), step(Ask::Get, OK, 1)];

/// In each cell; in all of them 10,080.
pub const KEPT_ALIVE: usize = 420;
const OFTEN: usize = 20;
const HUNDRED: usize = 100;

const BURST_RETRY: &str = "retry: { attempts: 3, backoff: 1ms, budget: { ratio: 20%, per_second: 1 } }";
const BURST: &[&str] = &[BURST_RETRY, "breaker: { open: 60s }"];
/// 20 % of the requests, and one a second in its window of ten.
const BUDGET: usize = HUNDRED * 6 / 5 + 10;
/// Calls after which the breaker's share counts, and the one that was under way.
const TRIPS: usize = 22;

/// Row by row.
pub const TABLE: &[Case] = &[
    case(1, "refused", Fault::Refused, REFUSED),
    case(1, "refused, another endpoint", Fault::Refused, ELSEWHERE).spare(),
    case(1, "black hole", Fault::BlackHole, BLACK_HOLE),
    case(1, "black hole, another endpoint", Fault::BlackHole, ELSEWHERE).spare(),
    case(1, "reset at connect", Fault::ResetAtConnect, RESET_AT_CONNECT),
    case(1, "reset at connect, another endpoint", Fault::ResetAtConnect, PERHAPS_ELSEWHERE).spare(),
    broken("GET: close before the head", Point::BeforeHead, How::Close, UNBEGUN_GET),
    broken("POST: close before the head", Point::BeforeHead, How::Close, UNBEGUN_POST),
    broken("GET: reset before the head", Point::BeforeHead, How::Reset, UNBEGUN_GET),
    broken("POST: reset before the head", Point::BeforeHead, How::Reset, UNBEGUN_POST),
    broken("GET: close mid head", Point::MidHead, How::Close, UNBEGUN_GET),
    broken("POST: close mid head", Point::MidHead, How::Close, UNBEGUN_POST),
    broken("GET: reset mid head", Point::MidHead, How::Reset, UNBEGUN_GET),
    broken("POST: reset mid head", Point::MidHead, How::Reset, UNBEGUN_POST),
    broken("GET: close mid body", Point::MidBody, How::Close, BEGUN_GET),
    broken("POST: close mid body", Point::MidBody, How::Close, BEGUN_POST),
    broken("GET: reset mid body", Point::MidBody, How::Reset, BEGUN_GET),
    broken("POST: reset mid body", Point::MidBody, How::Reset, BEGUN_POST),
    broken("GET: close mid chunk", Point::MidChunk, How::Close, BEGUN_GET),
    broken("POST: close mid chunk", Point::MidChunk, How::Close, BEGUN_POST),
    broken("GET: reset mid chunk", Point::MidChunk, How::Reset, BEGUN_GET),
    broken("POST: reset mid chunk", Point::MidChunk, How::Reset, BEGUN_POST),
    broken("GET: close before the last chunk", Point::BeforeLastChunk, How::Close, BEGUN_GET),
    broken("POST: close before the last chunk", Point::BeforeLastChunk, How::Close, BEGUN_POST),
    broken("GET: reset before the last chunk", Point::BeforeLastChunk, How::Reset, BEGUN_GET),
    broken("POST: reset before the last chunk", Point::BeforeLastChunk, How::Reset, BEGUN_POST),
    broken("GET: close in trailers", Point::InTrailers, How::Close, BEGUN_GET),
    broken("POST: close in trailers", Point::InTrailers, How::Close, BEGUN_POST),
    broken("GET: reset in trailers", Point::InTrailers, How::Reset, BEGUN_GET),
    broken("POST: reset in trailers", Point::InTrailers, How::Reset, BEGUN_POST),
    case(
        3,
        "stale keep-alive",
        Fault::Stale,
        &[step(Ask::Get, OK, KEPT_ALIVE).at_most(KEPT_ALIVE * 6 / 5).times(KEPT_ALIVE)],
    ),
    case(3, "408 on idle", Fault::IdleGoodbye, &[step(Ask::Get, OK, OFTEN).at_most(2 * OFTEN).times(OFTEN)]),
    case(3, "extra bytes", Fault::Extra, &[step(Ask::Get, OK, OFTEN).at_most(2 * OFTEN).times(OFTEN)]),
    case(3, "early 413", Fault::Early, &[step(Ask::Part, Want::Whole(413), 1), step(Ask::Get, OK, 1)]),
    case(
        4,
        "latency",
        Fault::Latency,
        &[
            step(Ask::Get, OK, 1).took(150, 150),
            step(Ask::Post, Want::Own(504, &["attempt_timeout"]), 1).took(ATTEMPT_MS, ATTEMPT_MS),
        ],
    ),
    case(4, "jitter", Fault::Jitter, &[step(Ask::Get, OK, 10).times(10).took(0, 80)]),
    case(4, "a byte per 100 ms", Fault::Drip, &[step(Ask::Get, OK, 1).took(500, 1_000)]),
    case(4, "stall mid-body", Fault::Stall, &[step(Ask::Get, Want::Cut, 1).took(IDLE_MS - 50, IDLE_MS + 500)]),
    case(5, "5xx at 10 %", Fault::Burst(10), &[step(Ask::Get, OK, 100).at_most(BUDGET).times(HUNDRED)]).lines(BURST),
    case(
        5,
        "5xx at 50 %",
        Fault::Burst(2),
        &[
            step(Ask::Get, Want::OneOf(&[200, 503]), 20).at_most(TRIPS).times(HUNDRED),
            step(Ask::Get, Want::Own(503, &["breaker_open"]), 0),
        ],
    )
    .lines(BURST),
    case(
        5,
        "5xx at 100 %",
        Fault::Burst(1),
        &[
            step(Ask::Get, Want::OneOf(&[503]), 20).at_most(TRIPS).times(HUNDRED),
            step(Ask::Get, Want::Own(503, &["breaker_open"]), 0),
        ],
    )
    .lines(BURST),
    case(
        5,
        "5xx at 100 %, no breaker",
        Fault::Burst(1),
        &[step(Ask::Get, Want::Whole(503), HUNDRED).at_most(BUDGET).times(HUNDRED)],
    )
    .lines(&[BURST_RETRY]),
    case(5, "GET: 429 with Retry-After", Fault::TooMany, &[step(Ask::Get, OK, 2).took(990, 1_000)]),
    case(5, "POST: 429 with Retry-After", Fault::TooMany, &[step(Ask::Post, Want::Whole(429), 1)]),
    case(6, "leaves before the head", Fault::Mute, &[step(Ask::LeaveBeforeHead, Want::Cancelled, 1)]),
    case(6, "leaves mid-upload", Fault::Mute, &[step(Ask::LeaveMidUpload, Want::Cancelled, 1)]),
    case(6, "leaves mid-download", Fault::Pour, &[step(Ask::LeaveMidDownload, Want::Cancelled, 1)]),
    case(6, "never reads", Fault::Pour, &[step(Ask::NeverRead, Want::Cancelled, 1)]),
];
