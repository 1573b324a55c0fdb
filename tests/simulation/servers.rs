//! The upstreams: HTTP/1.1 by hand, so that one can fail at any byte, and so that nothing they read goes unnoticed.
//!
//! What an answer is like depends on the seed, the request and how often the server has had it; not on what else runs.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use turmoil::net::{TcpListener, TcpStream};

use crate::plan::Mood;
use crate::run::Scene;

/// The body of every answer, as long as it is asked for.
pub const PATTERN: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz\n";
const LARGEST: usize = 64 * 1024;

/// What became of the requests at all servers: by id, how often its head arrived, and how often all of it.
#[derive(Debug, Default)]
pub struct Seen {
    pub heads: std::collections::BTreeMap<u64, u32>,
    pub acted: std::collections::BTreeMap<u64, u32>,
}

/// One server's life until it crashes.
pub async fn serve(scene: Rc<RefCell<Scene>>, server: usize) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", 80)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let scene = Rc::clone(&scene);
        tokio::task::spawn_local(async move {
            // A connection that ends badly is what this is about.
            let _ = connection(stream, scene, server).await;
        });
    }
}

struct Asked {
    id: Option<u64>,
    method: String,
    upload: usize,
    download: usize,
}

async fn connection(mut stream: TcpStream, scene: Rc<RefCell<Scene>>, server: usize) -> std::io::Result<()> {
    let mut read = Vec::new();
    while let Some(asked) = head(&mut stream, &mut read).await? {
        let mood = scene.borrow().moods[server];
        let Some(id) = asked.id else {
            let status = if mood.refusing > 30 { "503 Service Unavailable" } else { "204 No Content" };
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await?;
            continue;
        };
        let time = scene.borrow_mut().head(server, &asked.method, id);
        let seed = scene.borrow().seed ^ id << 32 ^ u64::from(time) << 16 ^ server as u64;
        let mut fate = fastrand::Rng::with_seed(seed);
        if asked.upload > 0 && fate.u32(..100) < mood.unread {
            // Closed with bytes unread is a reset.
            sleep(Duration::from_millis(fate.u64(..40))).await;
            return Ok(());
        }
        while read.len() < asked.upload {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        read.drain(..asked.upload);
        scene.borrow_mut().acted(server, id);
        if !answer(&mut stream, &asked, mood, &mut fate).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether the connection stays.
async fn answer(stream: &mut TcpStream, asked: &Asked, mood: Mood, fate: &mut fastrand::Rng) -> std::io::Result<bool> {
    let mut happens = |share: u32| fate.u32(..100) < share;
    let (silent, mid_head, mid_body) = (happens(mood.silent), happens(mood.mid_head), happens(mood.mid_body));
    let (stalled, refusing, slow) = (happens(mood.stalled), happens(mood.refusing), happens(mood.slow));
    if slow {
        sleep(Duration::from_millis(fate.u64(..500))).await;
    }
    if silent {
        return Ok(false);
    }
    if refusing {
        let after = if fate.bool() { "retry-after: 1\r\n" } else { "" };
        let head = format!("HTTP/1.1 503 Service Unavailable\r\n{after}content-length: 4\r\n\r\nbusy");
        stream.write_all(head.as_bytes()).await?;
        return Ok(true);
    }
    let body: Vec<u8> = PATTERN.iter().copied().cycle().take(asked.download).collect();
    let chunked = fate.bool();
    let mut head = String::from("HTTP/1.1 200 OK\r\n");
    head.push_str(&if chunked {
        "transfer-encoding: chunked\r\n\r\n".into()
    } else {
        format!("content-length: {}\r\n\r\n", body.len())
    });
    if mid_head {
        stream.write_all(&head.as_bytes()[..fate.usize(1..head.len())]).await?;
        sleep(Duration::from_millis(fate.u64(..60))).await;
        return Ok(false);
    }
    stream.write_all(head.as_bytes()).await?;
    let pieces = fate.usize(1..=3);
    let cut = (mid_body || stalled).then(|| fate.usize(..pieces));
    for (number, piece) in body.chunks(body.len().div_ceil(pieces).max(1)).enumerate() {
        if number > 0 {
            sleep(Duration::from_millis(fate.u64(..50))).await;
        }
        if cut == Some(number) {
            stream
                .write_all(&if chunked { frame(piece, piece.len() / 2) } else { piece[..piece.len() / 2].to_vec() })
                .await?;
            if stalled {
                std::future::pending::<()>().await;
            }
            return Ok(false);
        }
        stream.write_all(&if chunked { frame(piece, piece.len()) } else { piece.to_vec() }).await?;
    }
    if chunked {
        if cut.is_some() {
            return Ok(false);
        }
        stream.write_all(b"0\r\n\r\n").await?;
    }
    Ok(!(cut.is_some() && asked.download > 0))
}

/// A chunk, of which only the first `sent` bytes are sent.
fn frame(piece: &[u8], sent: usize) -> Vec<u8> {
    let mut frame = format!("{:x}\r\n", piece.len()).into_bytes();
    frame.extend_from_slice(&piece[..sent]);
    if sent == piece.len() {
        frame.extend_from_slice(b"\r\n");
    }
    frame
}

/// The next request's head; what follows it stays in `read`.
async fn head(stream: &mut TcpStream, read: &mut Vec<u8>) -> std::io::Result<Option<Asked>> {
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if read.len() > LARGEST || stream.read_buf(read).await? == 0 {
            return Ok(None);
        }
    };
    let head: Vec<u8> = read.drain(..end).collect();
    let head = String::from_utf8_lossy(&head).into_owned();
    let field = |name: &str| {
        head.lines().skip(1).find_map(|line| {
            let (known, value) = line.split_once(':')?;
            known.eq_ignore_ascii_case(name).then(|| value.trim().parse::<u64>().expect("a number"))
        })
    };
    assert!(field("transfer-encoding").is_none(), "uploads here have a length");
    Ok(Some(Asked {
        id: field("x-id"),
        method: head.split(' ').next().unwrap_or_default().to_owned(),
        upload: field("content-length").unwrap_or(0) as usize,
        download: field("x-want").unwrap_or(0) as usize,
    }))
}
