//! The system's own configuration: `/etc/hosts`, `/etc/resolv.conf`, and the name servers named there.
//!
//! Before a query, and at most every 5 s, the files' times are looked at; a changed file is read again. No
//! watcher: a laptop that changes networks is noticed by the first query that could be wrong. Both files are
//! small and local, so they are read in place, on the control thread. While `resolv.conf` is missing or names no
//! server, the last good one stays in use; if there never was one, every query fails and says so, except for
//! names in `/etc/hosts`.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use exchange::clock;
use futures_util::future::BoxFuture;
use hickory_resolver::config::{ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, system_conf};
use parking_lot::Mutex;
use policy::Tick;

use super::{Answer, Failure, Source, search};

const RECHECK: Duration = Duration::from_secs(5);

/// How `/etc/hosts` answers age; the cache above clamps it.
const HOSTS_TTL: Duration = Duration::from_secs(60);

/// Name servers and static hosts as the system configures them.
pub struct System {
    hosts: PathBuf,
    resolv: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    checked: Option<Tick>,
    stamps: Option<[Stamp; 2]>,
    hosts: Arc<Hosts>,
    servers: Option<Arc<Servers>>,
    problem: String,
}

/// What tells one content of a file from the next.
type Stamp = Option<(SystemTime, u64)>;

/// Name servers, and how to ask them.
pub(super) struct Servers {
    resolver: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
}

impl System {
    /// The system's configuration, read at the first query.
    #[expect(clippy::new_without_default, reason = "reads files later: worth a visible call")]
    pub fn new() -> Self {
        Self::at("/etc/hosts", "/etc/resolv.conf")
    }

    /// The same from other files.
    pub(super) fn at(hosts: impl Into<PathBuf>, resolv: impl Into<PathBuf>) -> Self {
        Self { hosts: hosts.into(), resolv: resolv.into(), state: Mutex::default() }
    }

    pub(super) fn current(&self, now: Tick) -> (Arc<Hosts>, Result<Arc<Servers>, Failure>) {
        let mut state = self.state.lock();
        if state.checked.is_none_or(|checked| now.since(checked) >= RECHECK) {
            state.checked = Some(now);
            self.refresh(&mut state);
        }
        let problem = || Failure::Broken(format!("no name servers: {}", state.problem).into());
        (Arc::clone(&state.hosts), state.servers.clone().ok_or_else(problem))
    }

    fn refresh(&self, state: &mut State) {
        let stamps = [stamp(&self.hosts), stamp(&self.resolv)];
        if state.stamps == Some(stamps) {
            return;
        }
        state.stamps = Some(stamps);
        let mut hosts = Hosts::default();
        if let Ok(file) = File::open(&self.hosts)
            && hosts.read_hosts_conf(file).is_ok()
        {
            state.hosts = Arc::new(hosts);
        }
        match read(&self.resolv).and_then(|(config, options)| Servers::new(config, options)) {
            Ok(servers) => state.servers = Some(Arc::new(servers)),
            Err(error) => {
                let path = self.resolv.display();
                tracing::warn!(%path, %error, kept = state.servers.is_some(), "cannot use the resolver configuration");
                state.problem = format!("{path}: {error}");
            }
        }
    }
}

impl Source for System {
    fn lookup(&self, name: Arc<str>) -> BoxFuture<'_, Result<Answer, Failure>> {
        Box::pin(async move {
            let Ok(host) = Name::from_ascii(&*name) else {
                return Err(Failure::Absent("not a domain name".into()));
            };
            let (hosts, servers) = self.current(clock::now());
            match fixed(&hosts, &host) {
                Some(answer) => Ok(answer),
                None => servers?.lookup(&host).await,
            }
        })
    }
}

impl Servers {
    /// Servers with a configuration; nothing is sent.
    pub(super) fn new(mut config: ResolverConfig, mut options: ResolverOpts) -> Result<Self, NetError> {
        let ndots = options.ndots;
        let search = std::mem::take(&mut config.search);
        let search = if search.is_empty() { config.domain.take().into_iter().collect() } else { search };
        // Hosts, search and cache are ours.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        let provider = TokioRuntimeProvider::default();
        let resolver = TokioResolver::builder_with_config(config, provider).with_options(options).build()?;
        Ok(Self { resolver, search, ndots })
    }

    #[cfg(test)]
    pub(super) fn search_list(&self) -> String {
        self.search.iter().map(Name::to_string).collect::<Vec<_>>().join(" ")
    }

    pub(super) async fn lookup(&self, host: &Name) -> Result<Answer, Failure> {
        search::first(&self.resolver, search::candidates(host, &self.search, self.ndots)).await
    }
}

/// A name in the hosts file has the addresses written there and no others.
fn fixed(hosts: &Hosts, host: &Name) -> Option<Answer> {
    let find = |of| hosts.lookup_static_host(&Query::query(host.clone(), of));
    let found = [find(RecordType::AAAA), find(RecordType::A)];
    let records = found.iter().flatten().flat_map(|lookup| lookup.answers());
    let addrs: Vec<IpAddr> = records.filter_map(|record| record.data.ip_addr()).collect();
    (!addrs.is_empty()).then_some(Answer { addrs, ttl: HOSTS_TTL })
}

fn stamp(path: &PathBuf) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

#[cfg(all(unix, not(any(target_os = "android", target_vendor = "apple"))))]
fn read(path: &PathBuf) -> Result<(ResolverConfig, ResolverOpts), NetError> {
    system_conf::parse_resolv_conf(fs::read(path)?)
}

/// Here the system keeps its configuration elsewhere; the file only tells when it changed.
#[cfg(not(all(unix, not(any(target_os = "android", target_vendor = "apple")))))]
fn read(_: &PathBuf) -> Result<(ResolverConfig, ResolverOpts), NetError> {
    system_conf::read_system_conf()
}
