//! One name against a list of suffixes and two record types, as the C library does it.
//!
//! The library's own search is not used, since it searches for each record type alone: the IPv4 address of one
//! host and the IPv6 address of another that the same short name means in a later suffix would be mixed. Here a
//! suffix that has either type is the answer.
//!
//! IPv6 answers may be late: some servers drop the question. Once the IPv4 answer is there, 50 ms are left
//! for them (RFC 8305 section 3). The other way round there is no limit: an IPv6 answer alone is useless on most
//! machines.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::time::sleep;

use super::{Answer, Failure};

const GRACE: Duration = Duration::from_millis(50);
const NO_NAME: &str = "name does not exist";
const NO_ADDRESS: &str = "name has no address";

/// The fully qualified names that a host may mean, in order (`man 5 resolv.conf`: search, ndots).
pub(super) fn candidates(host: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut plain = host.clone();
    plain.set_fqdn(true);
    let dots = usize::from(host.num_labels()).saturating_sub(1);
    let suffixed = search.iter().filter_map(|suffix| host.clone().append_domain(suffix).ok());
    let mut names: Vec<Name> = suffixed
        .map(|mut name| {
            name.set_fqdn(true);
            name
        })
        .collect();
    let at = if dots >= ndots { 0 } else { names.len() };
    names.insert(at, plain);
    names
}

/// The addresses of the first of `names` that has any.
///
/// A server that breaks on one suffix does not end the search, one that is silent does: else every suffix
/// would cost its timeout.
pub(super) async fn first(resolver: &TokioResolver, names: Vec<Name>) -> Result<Answer, Failure> {
    let mut kept: Option<Failure> = None;
    for name in names {
        match both(resolver, name).await {
            Err(Failure::Absent(what)) => {
                // "Exists without an address" tells more than "does not exist".
                let tells_more = what != NO_NAME && matches!(kept, None | Some(Failure::Absent(_)));
                if kept.is_none() || tells_more {
                    kept = Some(Failure::Absent(what));
                }
            }
            Err(failure @ Failure::Broken(_)) => kept = Some(failure),
            other => return other,
        }
    }
    Err(kept.unwrap_or(Failure::Absent(NO_NAME.into())))
}

async fn both(resolver: &TokioResolver, name: Name) -> Result<Answer, Failure> {
    let v6 = ask(resolver, name.clone(), RecordType::AAAA);
    let v4 = ask(resolver, name, RecordType::A);
    tokio::pin!(v4, v6);
    let (v4, v6) = tokio::select! {
        v4 = &mut v4 => match &v4 {
            Ok(_) => tokio::select! {
                v6 = &mut v6 => (v4, Some(v6)),
                () = sleep(GRACE) => (v4, None),
            },
            // No server gives addresses to a name that it says does not exist.
            Err(Failure::Absent(what)) if what == NO_NAME => (v4, None),
            Err(_) => (v4, Some(v6.await)),
        },
        v6 = &mut v6 => (v4.await, Some(v6)),
    };
    match (v4, v6) {
        (Ok(v4), Some(Ok(mut both))) => {
            both.addrs.extend(v4.addrs);
            both.ttl = both.ttl.min(v4.ttl);
            Ok(both)
        }
        (Ok(one), _) | (Err(_), Some(Ok(one))) => Ok(one),
        // What one type failed on is the reason if the other merely has no record.
        (Err(Failure::Absent(what)), Some(Err(failure))) if what != NO_NAME => Err(failure),
        (Err(failure), _) => Err(failure),
    }
}

async fn ask(resolver: &TokioResolver, name: Name, of: RecordType) -> Result<Answer, Failure> {
    let lookup = resolver.lookup(name, of).await.map_err(|error| failure(&error))?;
    let records = lookup.answers();
    let addrs: Vec<IpAddr> = records.iter().filter_map(|record| record.data.ip_addr()).collect();
    if addrs.is_empty() {
        return Err(Failure::Absent(NO_ADDRESS.into()));
    }
    let ttl = records.iter().map(|record| record.ttl).min().unwrap_or_default();
    Ok(Answer { addrs, ttl: Duration::from_secs(ttl.into()) })
}

fn failure(error: &NetError) -> Failure {
    let why: Cow<'static, str> = match error {
        NetError::Timeout => return Failure::Timeout,
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => return Failure::Absent(NO_NAME.into()),
            ResponseCode::NoError => return Failure::Absent(NO_ADDRESS.into()),
            code => format!("the name server answered {code}").into(),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server answered {code}").into(),
        NetError::NoConnections => "no name server could be reached".into(),
        NetError::Io(error) => format!("no name server could be reached: {error}").into(),
        other => other.to_string().into(),
    };
    Failure::Broken(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(host: &str, ndots: usize) -> Vec<String> {
        let search = ["ns.svc.cluster.local.", "corp.test"].map(|text| Name::from_ascii(text).expect("name"));
        let host = Name::from_ascii(host).expect("name");
        candidates(&host, &search, ndots).iter().map(Name::to_string).collect()
    }

    #[test]
    fn short_names_are_searched_first_and_long_ones_last() {
        assert_eq!(names("db", 1), ["db.ns.svc.cluster.local.", "db.corp.test.", "db."]);
        assert_eq!(names("a.test", 1), ["a.test.", "a.test.ns.svc.cluster.local.", "a.test.corp.test."]);
        assert_eq!(names("a.test", 5), ["a.test.ns.svc.cluster.local.", "a.test.corp.test.", "a.test."]);
    }
}
