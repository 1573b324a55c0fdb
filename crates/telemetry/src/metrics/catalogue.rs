//! Every metric by name, type, labels and help: the table of the interface document.

use prometheus::proto::MetricType;

/// A metric family.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: MetricType,
    pub(crate) labels: &'static [&'static str],
    pub(crate) help: &'static str,
}

macro_rules! families {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) static $id: Family =
            Family { name: $name, kind: MetricType::$kind, labels: &[$($label),*], help: $help };)*

        /// All of them.
        pub(crate) static ALL: &[&Family] = &[$(&$id),*];
    };
}

families! {
    REQUESTS COUNTER "attache_requests_total" ["route", "method", "code", "reason"] "Requests that ended; reason is empty if nothing of ours failed.";
    IDENTITY_REQUESTS COUNTER "attache_identity_requests_total" ["identity", "route", "code_class"] "Requests that ended, by who called; _anonymous are those of nobody known, _other those beyond the cap.";
    REQUEST_DURATION HISTOGRAM "attache_request_duration_seconds" ["route", "code_class"] "From the request's head to the end of the response.";
    OVERHEAD HISTOGRAM "attache_overhead_seconds" ["route"] "Our own time: until the response's head, less the attempts.";
    ATTEMPTS COUNTER "attache_attempts_total" ["route", "result"] "Tries at upstreams by status class or reason.";
    ATTEMPT_DURATION HISTOGRAM "attache_attempt_duration_seconds" ["route"] "One try until its response's head or failure.";
    RETRIES COUNTER "attache_retries_total" ["route"] "Attempts beyond the first, hedges not counted.";
    RETRY_DENIED COUNTER "attache_retry_denied_total" ["route", "reason"] "Requests that were not retried (again), and why.";
    HEDGES COUNTER "attache_hedges_total" ["route", "result"] "Second tries made before the first had answered: won, or wasted.";
    HEDGE_DENIED COUNTER "attache_hedge_denied_total" ["route", "reason"] "Late first tries beside which no second was made, and why.";
    REJECTED COUNTER "attache_rejected_total" ["route", "reason"] "Requests that we refused without any attempt.";
    FALLBACKS COUNTER "attache_fallbacks_total" ["route", "by", "reason"] "Answers by a fallback, by status class or reason of what it stood in for.";
    FAULTS COUNTER "attache_faults_total" ["route", "kind"] "Faults that were injected on purpose.";
    MIRRORED COUNTER "attache_mirrored_total" ["route", "result"] "Requests that were to be copied to a mirror, by what became of the copy.";
    AUTHORIZE COUNTER "attache_authorize_total" ["route", "result"] "Decisions of somebody else about requests.";
    AUTHORIZE_DURATION HISTOGRAM "attache_authorize_duration_seconds" ["route"] "From the question to its answer, or to giving up.";
    TRAILERS_DROPPED COUNTER "attache_trailers_dropped_total" ["route"] "Responses whose trailers HTTP/1 could not carry, since the upstream had not announced them.";
    BYTES COUNTER "attache_bytes_total" ["route", "direction"] "Body bytes from (in) and to (out) clients.";
    CONNECTIONS GAUGE "attache_connections" ["side", "proto"] "Open connections.";
    TUNNELS GAUGE "attache_tunnels" [] "Running tunnels.";
    TUNNEL_BYTES COUNTER "attache_tunnel_bytes_total" ["direction"] "Bytes from (in) and to (out) clients in tunnels.";
    DNS HISTOGRAM "attache_dns_seconds" [] "Name look-ups.";
    CONNECT HISTOGRAM "attache_connect_seconds" [] "TCP connects to upstreams.";
    HANDSHAKE HISTOGRAM "attache_tls_handshake_seconds" [] "TLS handshakes with upstreams.";
    CONNECTION_REJECTED COUNTER "attache_connection_rejected_total" ["reason"] "Client connections that ended before a request.";
    INTERCEPTED COUNTER "attache_intercepted_total" ["route"] "Tunnels whose TLS was opened, by the route that asks for it.";
    INTERCEPT_FAILURES COUNTER "attache_intercept_failures_total" ["route", "reason"] "Tunnels whose TLS could not be opened: clients that refused the certificate, and the rest.";
    TRANSITIONS COUNTER "attache_breaker_transitions_total" ["upstream", "endpoint", "to"] "Changes of breakers.";
    BREAKER GAUGE "attache_breaker_state" ["upstream", "endpoint"] "0 closed, 1 half-open, 2 open.";
    PANIC GAUGE "attache_upstream_panic" ["upstream"] "1 while so many endpoints are out that requests go to all of them.";
    HEALTH GAUGE "attache_endpoint_healthy" ["upstream", "endpoint"] "Active checks: 1 well, 0 left out.";
    HEALTH_CHECKS COUNTER "attache_health_checks_total" ["upstream", "endpoint", "result"] "Active checks made.";
    INFLIGHT GAUGE "attache_endpoint_inflight" ["upstream", "endpoint"] "Requests at the endpoint now.";
    LIMIT_INFLIGHT GAUGE "attache_limit_inflight" ["route"] "Requests that have a place under the route's limit.";
    LIMIT_WAITING GAUGE "attache_limit_waiting" ["route"] "Requests that wait in line for a place.";
    LIMIT GAUGE "attache_limit_concurrency" ["route"] "Places there are now: as configured, or as found out by an adaptive limit.";
    REFRESHES COUNTER "attache_credential_refresh_total" ["route", "result"] "Credentials read or fetched anew.";
    CREDENTIAL_EXPIRY GAUGE "attache_credential_expiry_timestamp_seconds" ["route"] "Until when a fetched credential is used, a moment before it expires.";
    JWKS COUNTER "attache_jwks_refresh_total" ["identity", "result"] "Times that the keys of an issuer were asked for.";
    JWKS_READ GAUGE "attache_jwks_last_refresh_timestamp_seconds" ["identity"] "When the keys of an issuer were last read well.";
    RELOAD_OK GAUGE "attache_config_last_reload_successful" [] "1 if the last configuration was accepted.";
    GENERATION GAUGE "attache_config_generation" [] "The configuration that runs, counted from the start.";
    RELOADED_AT GAUGE "attache_config_last_reload_timestamp_seconds" [] "When a configuration was last accepted or refused.";
    CERTIFICATE_EXPIRY GAUGE "attache_tls_certificate_expiry_timestamp_seconds" ["file"] "When the certificate expires that a listener or an upstream is shown, or that of the authority of `intercept`.";
    CERTIFICATE_OK GAUGE "attache_tls_certificate_last_reload_successful" ["file"] "1 if what lies in the file is in use, 0 if it was refused.";
    BUILD GAUGE "attache_build_info" ["version"] "Always 1.";
    OVERFLOW COUNTER "attache_state_overflow_total" [] "Hosts used without a state of theirs being kept, since its table was full.";
    LOG_DROPPED COUNTER "attache_access_log_dropped_total" [] "Access log lines that were lost.";
    CPU COUNTER "process_cpu_seconds_total" [] "User and system CPU time.";
    RESIDENT GAUGE "process_resident_memory_bytes" [] "Resident memory.";
    VIRTUAL GAUGE "process_virtual_memory_bytes" [] "Virtual memory.";
    OPEN_FDS GAUGE "process_open_fds" [] "Open file descriptors.";
    MAX_FDS GAUGE "process_max_fds" [] "Limit of open file descriptors.";
    STARTED GAUGE "process_start_time_seconds" [] "When the process started.";
    THREADS GAUGE "process_threads" [] "Threads.";
}
