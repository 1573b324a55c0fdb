//! A parent proxy that does as it is told, and keeps what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use testkit::Upstream;
use testkit::wire::{Fields, field};
use tokio::net::TcpStream;

/// What was asked: the first line and the fields.
pub type Asked = (String, Fields);

/// The parent.
pub struct Parent {
    pub upstream: Upstream,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Parent {
    /// Grants CONNECT: whatever name is asked for is `to`. A request of plain HTTP is answered with its own target.
    pub async fn to(to: SocketAddr) -> Self {
        Self::saying(move |_, _| None, to).await
    }

    /// Answers CONNECT with these bytes, and nothing more.
    pub async fn answering(answer: &'static str) -> Self {
        Self::saying(move |_, _| Some(answer.to_owned()), ([127, 0, 0, 1], 1).into()).await
    }

    /// What `says` returns is the answer to a CONNECT, by the number of the connection and what was asked; without one it
    /// is granted.
    pub async fn saying(
        says: impl Fn(usize, &Asked) -> Option<String> + Send + Sync + 'static,
        to: SocketAddr,
    ) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (notes, says) = (Arc::clone(&asked), Arc::new(says));
        let upstream = Upstream::raw(move |number, mut wire| {
            let (notes, says) = (Arc::clone(&notes), Arc::clone(&says));
            async move {
                while let Ok(Some(head)) = wire.head().await {
                    notes.lock().expect("notes").push(head.clone());
                    if !head.0.starts_with("CONNECT ") {
                        let target = head.0.split(' ').nth(1).unwrap_or_default();
                        let length = target.len();
                        let said = says(number, &head);
                        let answer =
                            said.unwrap_or(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{target}"));
                        if wire.send(answer).await.is_err() {
                            return;
                        }
                        continue;
                    }
                    if let Some(answer) = says(number, &head) {
                        // It may have left.
                        let _ = wire.send(answer).await;
                        return wire.closed().await;
                    }
                    let mut far = TcpStream::connect(to).await.expect("the target listens");
                    wire.send("HTTP/1.1 200 Connection established\r\n\r\n").await.expect("sent");
                    let mut near = wire.into_io();
                    // However it ends.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    return;
                }
            }
        })
        .await;
        Self { upstream, asked }
    }

    /// `http://` and where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.upstream.addr())
    }

    /// The first lines of what it was asked.
    pub fn lines(&self) -> Vec<String> {
        self.asked.lock().expect("notes").iter().map(|(line, _)| line.clone()).collect()
    }

    /// A field of each of the things it was asked.
    pub fn fields(&self, name: &str) -> Vec<Option<String>> {
        self.asked.lock().expect("notes").iter().map(|(_, fields)| field(fields, name).map(str::to_owned)).collect()
    }
}
