//! Every metric of Sōzu 2.3.3, and what becomes of it: one line each. `docs/metrics.md` is made from this file.
//!
//! The names were read in sozu-lib 2.3.3 (`metrics/names.rs` and every `incr!`, `count!`, `gauge!`, `gauge_add!`,
//! `time!`) and in sozu 2.3.3 (`command/`). A `*` stands for a value that Sōzu hides in a name; it becomes a label.
//! Of several lines that fit, an exact one counts, then the first. Times are told in whole milliseconds, rounded down.

use crate::metrics::Type;

/// Whose metric it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Sōzu's main process.
    Main,
    /// A worker as a whole.
    Proxy,
    /// A cluster or one of its backends.
    Cluster,
}

/// How a gauge of several workers becomes one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Over {
    /// It does not: each worker is a series.
    PerWorker,
    Least,
    Most,
    Sum,
}

/// What a metric of Sōzu is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Summed over the workers, ended ones too.
    Counter,
    Gauge(Over),
    /// A gauge of 0 to 100 that becomes 0 to 1.
    Percent,
    /// Observations in milliseconds that become a histogram in seconds.
    Time,
}

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    /// Sōzu's name.
    pub(crate) source: &'static str,
    /// Ours.
    pub(crate) family: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: Kind,
    /// A label that the line sets.
    pub(crate) fixed: Option<(&'static str, &'static str)>,
    /// The label that takes what `*` stands for.
    pub(crate) named: Option<&'static str>,
}

/// Upper bounds in seconds of Sōzu's own histograms as far as they are shown: it counts in powers of two, and its bucket
/// of at most 3 ms holds what took less than 4. Always the same ones.
pub(crate) const FINE: &[f64] = &[
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192, 16.384, 32.768,
];
/// For what there may be thousands of: every second one.
pub(crate) const COARSE: &[f64] = &[0.001, 0.004, 0.016, 0.064, 0.256, 1.024, 4.096, 16.384];

impl Scope {
    pub(crate) const fn rows(self) -> &'static [Row] {
        match self {
            Scope::Main => MAIN,
            Scope::Proxy => PROXY,
            Scope::Cluster => CLUSTER,
        }
    }

    pub(crate) const fn bounds(self) -> &'static [f64] {
        match self {
            Scope::Main | Scope::Proxy => FINE,
            Scope::Cluster => COARSE,
        }
    }
}

impl Kind {
    pub(crate) const fn shown(self, scope: Scope) -> Type {
        match self {
            Kind::Counter => Type::Counter,
            Kind::Gauge(_) | Kind::Percent => Type::Gauge,
            Kind::Time => Type::Histogram(scope.bounds()),
        }
    }
}

impl Row {
    const fn new(
        kind: Kind,
        source: &'static str,
        family: &'static str,
        help: &'static str,
    ) -> Self {
        Self {
            source,
            family,
            help,
            kind,
            fixed: None,
            named: None,
        }
    }

    const fn with(mut self, label: &'static str, value: &'static str) -> Self {
        self.fixed = Some((label, value));
        self
    }

    const fn named(mut self, label: &'static str) -> Self {
        self.named = Some(label);
        self
    }

    /// Whether the line is about this name; if so, what `*` stands for (nothing where there is none).
    pub(crate) fn fits<'a>(&self, name: &'a str) -> Option<&'a str> {
        match self.source.split_once('*') {
            None => (self.source == name).then_some(""),
            Some((before, after)) => {
                let value = name.strip_prefix(before)?.strip_suffix(after)?;
                (!value.is_empty()).then_some(value)
            }
        }
    }
}

const fn counter(source: &'static str, family: &'static str, help: &'static str) -> Row {
    Row::new(Kind::Counter, source, family, help)
}

const fn gauge(source: &'static str, family: &'static str, help: &'static str) -> Row {
    Row::new(Kind::Gauge(Over::PerWorker), source, family, help)
}

const fn least(source: &'static str, family: &'static str, help: &'static str) -> Row {
    Row::new(Kind::Gauge(Over::Least), source, family, help)
}

const fn most(source: &'static str, family: &'static str, help: &'static str) -> Row {
    Row::new(Kind::Gauge(Over::Most), source, family, help)
}

const fn sum(source: &'static str, family: &'static str, help: &'static str) -> Row {
    Row::new(Kind::Gauge(Over::Sum), source, family, help)
}

const fn percent(source: &'static str, family: &'static str, help: &'static str) -> Row {
    Row::new(Kind::Percent, source, family, help)
}

const fn time(source: &'static str, family: &'static str, help: &'static str) -> Row {
    Row::new(Kind::Time, source, family, help)
}

/// Sōzu's main process.
#[rustfmt::skip]
const MAIN: &[Row] = &[
    sum("configuration.backends", "sozu_configuration_backends", "Backends that the main process holds."),
    sum("configuration.clusters", "sozu_configuration_clusters", "Clusters that the main process holds."),
    sum("configuration.frontends", "sozu_configuration_frontends", "Frontends that the main process holds."),
    counter("config.*", "sozu_config_events_total", "Orders that the main process carried out, by kind.").named("event"),
];

/// A worker as a whole.
#[rustfmt::skip]
const PROXY: &[Row] = &[
    gauge("accept_queue.backpressure", "sozu_accept_queue_backpressure", "1 while the worker accepts no more connections, else 0."),
    gauge("accept_queue.connections", "sozu_accept_queue_connections", "Connections that wait in the worker's accept queue."),
    counter("accept_queue.saturated_seconds", "sozu_accept_queue_saturated_seconds_total", "Seconds during which no connection could be accepted."),
    counter("accept_queue.timeout", "sozu_accept_queue_timeouts_total", "Connections dropped because they waited too long in the accept queue."),
    time("accept_queue.wait_time", "sozu_accept_queue_wait_seconds", "Time that a connection waited in the accept queue."),
    counter("access_logs.count", "sozu_access_logs_total", "Access logs that belong to no cluster."),
    counter("unsent-access-logs", "sozu_access_logs_unsent_total", "Access logs that could not be written."),
    counter("bytes_in", "sozu_received_bytes_total", "Bytes received from clients."),
    counter("bytes_out", "sozu_sent_bytes_total", "Bytes sent to clients."),
    counter("back_bytes_in", "sozu_backend_received_bytes_total", "Bytes received from backends."),
    counter("back_bytes_out", "sozu_backend_sent_bytes_total", "Bytes sent to backends."),
    gauge("backend.connections", "sozu_backend_connections", "Open connections to backends."),
    counter("backend.flow_control.paused", "sozu_backend_flow_control_pauses_total", "Times that reading from a backend paused because its client did not read."),
    counter("backend.pool.hit", "sozu_backend_pool_hits_total", "Requests that went over a pooled connection to a backend."),
    counter("backend.pool.miss", "sozu_backend_pool_misses_total", "Requests that needed a new connection to a backend."),
    gauge("backend.pool.size", "sozu_backend_pool_connections", "Pooled connections to backends."),
    counter("backends.fail_open", "sozu_backends_fail_open_total", "Choices of a backend that is down because all of its cluster's were."),
    counter("backend.connect.retries_exhausted", "sozu_backend_connect_retries_exhausted_total", "Requests of no cluster for which no connection to a backend could be opened after all tries."),
    counter("backend.retry.stale_upstream", "sozu_backend_stale_retries_total", "Requests of no cluster sent again because a pooled connection ended without an answer."),
    gauge("backend.retry.captures_armed", "sozu_backend_retry_captures_armed", "Requests kept in memory to be sent again."),
    counter("backend.retry.captures_declined", "sozu_backend_retry_captures_declined_total", "Requests not kept for another try because too many were already."),
    gauge("buffer.capacity", "sozu_buffers", "Buffers that the worker may use."),
    gauge("buffer.in_use", "sozu_buffers_in_use", "Buffers in use."),
    percent("buffer.usage_percent", "sozu_buffers_usage_ratio", "Share of the buffers in use."),
    gauge("client.connections", "sozu_client_connections", "Open connections of clients."),
    gauge("client.connections_max", "sozu_client_connections_limit", "Connections of clients that the worker takes at most."),
    percent("client.connections_percent", "sozu_client_connections_ratio", "Share of the connections that the worker takes at most."),
    counter("client.connect.per_source.bucket_*", "sozu_client_connects_by_source_bucket_total", "Connections accepted, by a hash of the client's network into 256 buckets.").named("bucket"),
    counter("connections.rejected_per_cluster_ip", "sozu_connections_rejected_per_source_total", "Connections refused because their source has too many to a cluster."),
    time("epoll_time", "sozu_event_loop_poll_seconds", "Time that the worker waited for events."),
    time("event_loop_time", "sozu_event_loop_seconds", "Time for one turn of the worker's event loop."),
    time("frontend_matching_time", "sozu_frontend_matching_seconds", "Time to find the frontend of a request that matches none."),
    time("regex_matching_time", "sozu_regex_matching_seconds", "Time to match a regular expression of a route."),
    time("request_time", "sozu_request_seconds", "Time from a request's first byte to the last of its response, all clusters."),
    time("service_time", "sozu_service_seconds", "Time that the worker itself spent on a request, all clusters."),
    counter("health_check.up", "sozu_health_check_up_total", "Backends that a health check found again."),
    counter("health_check.down", "sozu_health_check_down_total", "Backends that a health check found down."),
    counter("health_check.success", "sozu_health_check_successes_total", "Health checks that succeeded."),
    counter("health_check.failure", "sozu_health_check_failures_total", "Health checks that failed."),
    counter("health_check.missing_secret", "sozu_health_check_missing_secrets_total", "Health checks not sent because a secret header is not there."),
    counter("h1.backend_eof_before_message_complete", "sozu_h1_backend_early_ends_total", "HTTP/1 backends that ended a connection within a response."),
    counter("h2.close_with_active_streams", "sozu_h2_closed_with_streams_total", "HTTP/2 connections that ended with open streams."),
    counter("h2.coalescing.accepted", "sozu_h2_coalesced_total", "HTTP/2 requests for another name of the connection's certificate."),
    gauge("h2.connection.active_streams", "sozu_h2_streams", "Open HTTP/2 streams."),
    gauge("h2.connection.pending_window_updates", "sozu_h2_pending_window_updates", "HTTP/2 window updates to be sent."),
    gauge("h2.connection.window_bytes", "sozu_h2_window_bytes", "Sum of the HTTP/2 connections' send windows."),
    counter("h2.flow_control_stall", "sozu_h2_flow_control_stalls_total", "Times that an HTTP/2 connection waited for its client's window."),
    counter("h2.streams.reaped.*", "sozu_h2_streams_reaped_total", "HTTP/2 streams ended by a guard; stall_budget is part of window_stall.").named("reason"),
    gauge("h2.streams.ready_incremental.by_urgency", "sozu_h2_ready_incremental_streams", "HTTP/2 incremental streams ready to send."),
    counter("h2.frames.tx.*", "sozu_h2_frames_sent_total", "HTTP/2 frames sent.").named("type"),
    counter("h2.frames.rx.*", "sozu_h2_frames_received_total", "HTTP/2 frames received.").named("type"),
    counter("h2.goaway.sent.*", "sozu_h2_goaways_sent_total", "HTTP/2 GOAWAY frames sent.").named("error"),
    counter("h2.goaway.received.*", "sozu_h2_goaways_received_total", "HTTP/2 GOAWAY frames received.").named("error"),
    counter("h2.rst_stream.sent.*", "sozu_h2_resets_sent_total", "HTTP/2 RST_STREAM frames sent.").named("error"),
    counter("h2.rst_stream.received.pre_response_start", "sozu_h2_early_resets_received_total", "HTTP/2 RST_STREAM frames received before a response began."),
    counter("h2.rst_stream.received.*", "sozu_h2_resets_received_total", "HTTP/2 RST_STREAM frames received.").named("error"),
    counter("h2.rst_stream_dropped", "sozu_h2_resets_dropped_total", "HTTP/2 RST_STREAM frames not sent because too many waited."),
    counter("h2.headers_no_stream.error", "sozu_h2_headers_without_stream_total", "HTTP/2 HEADERS frames for no stream."),
    counter("h2.headers.rejected.total", "sozu_h2_headers_rejected_total", "HTTP/2 header blocks that were refused."),
    counter("h2.headers.rejected.budget_overrun", "sozu_h2_headers_over_budget_total", "HTTP/2 header blocks that were refused for their size."),
    counter("h2.signal.writable.rearmed.*", "sozu_h2_writable_rearmed_total", "Times that an HTTP/2 connection was told to write again.").named("reason"),
    counter("h2.trailers_dropped_content_length", "sozu_h2_trailers_dropped_total", "HTTP/2 trailers that could not be passed on.").with("reason", "content_length"),
    counter("h2.trailers_dropped_no_body", "sozu_h2_trailers_dropped_total", "HTTP/2 trailers that could not be passed on.").with("reason", "no_body"),
    counter("h2.bodiless_response_data_reset", "sozu_h2_bodiless_data_resets_total", "HTTP/2 responses that may have no body and had one."),
    counter("h2.trailer.forbidden_field_elided", "sozu_h2_trailer_fields_removed_total", "HTTP/2 trailer fields that were removed.").with("reason", "forbidden"),
    counter("h2.trailer.spoof_vector_elided", "sozu_h2_trailer_fields_removed_total", "HTTP/2 trailer fields that were removed.").with("reason", "spoof_vector"),
    counter("h2.window_update_dropped", "sozu_h2_window_updates_dropped_total", "HTTP/2 window updates not sent because too many waited."),
    counter("h2.flood.violation.*", "sozu_h2_flood_violations_total", "HTTP/2 connections ended because they broke a rule against floods.").named("rule"),
    counter("h2.flood.stream_refused", "sozu_h2_flood_streams_refused_total", "HTTP/2 streams refused below the rule against floods of resets."),
    counter("http.errors", "sozu_http_errors_total", "Requests of no cluster that Sōzu answered itself, or that ended without an answer."),
    counter("http.*.errors", "sozu_http_default_answers_total", "Requests of no cluster that Sōzu answered itself with an error.").named("code"),
    counter("http.*.redirection", "sozu_http_redirections_total", "Requests of no cluster that Sōzu redirected.").named("code"),
    gauge("http.active_requests", "sozu_http_active_requests", "HTTP requests under way."),
    counter("http.alpn.*", "sozu_http_alpn_total", "TLS connections by the HTTP version agreed on.").named("protocol"),
    counter("http.e2e.*", "sozu_http_end_to_end_total", "Requests by the HTTP version of the backend's connection.").named("protocol"),
    counter("http.backend_parse_errors", "sozu_http_backend_parse_errors_total", "Responses of backends that are no HTTP."),
    counter("http.early_response_close", "sozu_http_early_response_closes_total", "Connections ended because a response was over before its request."),
    counter("http.close.request_incomplete", "sozu_http_incomplete_request_closes_total", "Connections ended because a response was over before its request had come."),
    counter("http.failed_backend_matching", "sozu_http_failed_backend_matching_total", "Requests for which no backend was found."),
    counter("http.forwarded_malformed_elided", "sozu_http_forwarded_removed_total", "Forwarded headers that were removed because they are malformed."),
    counter("http.frontend.transfer_encoding_smuggling", "sozu_http_request_smuggling_total", "Requests refused because they would be read differently by a backend.").with("by", "transfer_encoding"),
    counter("http.frontend.content_length_invalid", "sozu_http_request_smuggling_total", "Requests refused because they would be read differently by a backend.").with("by", "content_length"),
    counter("http.backend.content_length_invalid", "sozu_http_backend_content_length_invalid_total", "Responses refused for their Content-Length."),
    counter("http.frontend_parse_errors", "sozu_http_frontend_parse_errors_total", "Requests that are no HTTP."),
    counter("http.hsts.*", "sozu_http_hsts_total", "Events around Strict-Transport-Security.").named("event"),
    counter("http.infinite_loop.error", "sozu_infinite_loop_errors_total", "Sessions ended because they turned in a loop.").with("where", "http"),
    counter("tcp.infinite_loop.error", "sozu_infinite_loop_errors_total", "Sessions ended because they turned in a loop.").with("where", "tcp"),
    counter("rustls.read.infinite_loop.error", "sozu_infinite_loop_errors_total", "Sessions ended because they turned in a loop.").with("where", "tls_read"),
    counter("rustls.write.infinite_loop.error", "sozu_infinite_loop_errors_total", "Sessions ended because they turned in a loop.").with("where", "tls_write"),
    counter("socket.write.infinite_loop.error", "sozu_infinite_loop_errors_total", "Sessions ended because they turned in a loop.").with("where", "socket_write"),
    counter("http.redirect_template.compile_error", "sozu_http_redirect_template_errors_total", "Redirect templates that could not be compiled."),
    counter("http.requests", "sozu_http_requests_total", "HTTP requests whose first line and headers were read."),
    counter("http.sni_authority_mismatch", "sozu_http_sni_mismatches_total", "Requests for another name than the TLS connection's."),
    counter("http.status.none", "sozu_http_responses_total", "Requests of no cluster by the class of their status; none for those that ended without one.").with("class", "none"),
    counter("http.status.other", "sozu_http_responses_total", "Requests of no cluster by the class of their status; none for those that ended without one.").with("class", "other"),
    counter("http.status.1xx", "sozu_http_responses_total", "Requests of no cluster by the class of their status; none for those that ended without one.").with("class", "1xx"),
    counter("http.status.2xx", "sozu_http_responses_total", "Requests of no cluster by the class of their status; none for those that ended without one.").with("class", "2xx"),
    counter("http.status.3xx", "sozu_http_responses_total", "Requests of no cluster by the class of their status; none for those that ended without one.").with("class", "3xx"),
    counter("http.status.4xx", "sozu_http_responses_total", "Requests of no cluster by the class of their status; none for those that ended without one.").with("class", "4xx"),
    counter("http.status.5xx", "sozu_http_responses_total", "Requests of no cluster by the class of their status; none for those that ended without one.").with("class", "5xx"),
    counter("http.status.*", "sozu_http_status_total", "Requests of no cluster by their status, for the statuses that Sōzu counts apart; each is in the classes, too.").named("code"),
    counter("http.trailer.*", "sozu_http_trailers_refused_total", "HTTP/1 trailers: requests refused for too many fields, or fields that were removed.").named("reason"),
    counter("http.trusting.*", "sozu_http_trusting_total", "Requests whose forwarding headers were trusted; diff where they differ from the connection.").named("header"),
    counter("http.upgrade.*.failed", "sozu_upgrade_failures_total", "Sessions that could not go on with their next protocol.").with("protocol", "http").named("to"),
    counter("https.upgrade.*.failed", "sozu_upgrade_failures_total", "Sessions that could not go on with their next protocol.").with("protocol", "https").named("to"),
    counter("tcp.upgrade.*.failed", "sozu_upgrade_failures_total", "Sessions that could not go on with their next protocol.").with("protocol", "tcp").named("to"),
    counter("http.x_request_id.*", "sozu_http_request_ids_total", "Requests by where their X-Request-Id came from.").named("origin"),
    counter("https.alpn.rejected.*", "sozu_https_alpn_rejected_total", "TLS connections refused for their ALPN.").named("reason"),
    counter("listener.accepted.total", "sozu_accepted_connections_total", "Connections accepted, all listeners."),
    counter("listener.accepted.*", "sozu_accepted_connections_by_protocol_total", "Connections accepted, by the listener's protocol.").named("protocol"),
    counter("listener.connection_capped", "sozu_connections_capped_total", "Times that a connection had to wait because the worker has its most."),
    counter("pipe.errors", "sozu_pipe_errors_total", "Errors of connections that are passed through."),
    gauge("process.uptime_seconds", "sozu_worker_uptime_seconds", "Time since the worker started."),
    gauge("protocol.*", "sozu_sessions", "Open sessions by protocol.").named("protocol"),
    counter("proxy_protocol.errors", "sozu_proxy_protocol_errors_total", "PROXY protocol headers that could not be read or sent."),
    counter("rustls.read.error", "sozu_tls_read_errors_total", "Errors while reading TLS."),
    counter("rustls.read.reset", "sozu_tls_read_resets_total", "TLS connections reset by the client while reading."),
    counter("rustls.write.error", "sozu_tls_write_errors_total", "Errors while writing TLS, resets included."),
    counter("rustls.write.reset", "sozu_tls_write_resets_total", "TLS connections reset by the client while writing."),
    gauge("server.live", "sozu_worker_live", "1 while the worker serves, 0 while it stops."),
    counter("sessions.evicted", "sozu_sessions_evicted_total", "Sessions ended to make room for new ones."),
    percent("slab.accept_threshold_percent", "sozu_slab_accept_threshold_ratio", "Share of the slab at which no more connections are accepted."),
    gauge("slab.capacity", "sozu_slab_entries_limit", "Sessions and listeners that fit the worker's slab."),
    gauge("slab.entries", "sozu_slab_entries", "Sessions and listeners in the worker's slab."),
    percent("slab.usage_percent", "sozu_slab_usage_ratio", "Share of the slab in use."),
    counter("tcp.read.error", "sozu_tcp_read_errors_total", "Errors while reading TCP."),
    counter("tcp.read.reset", "sozu_tcp_read_resets_total", "TCP connections reset by the peer while reading."),
    counter("tcp.requests", "sozu_tcp_connections_total", "TCP connections that were passed on."),
    counter("tcp.write.error", "sozu_tcp_write_errors_total", "Errors while writing TCP, resets included."),
    counter("tcp.write.reset", "sozu_tcp_write_resets_total", "TCP connections reset by the peer while writing."),
    counter("tcp.sni_preread.routed", "sozu_tcp_sni_routed_total", "TLS connections passed on by their server name."),
    gauge("tcp.sni_preread.active", "sozu_tcp_sni_active", "TLS connections whose server name is being read."),
    time("tcp.sni_preread.duration", "sozu_tcp_sni_seconds", "Time to read a TLS connection's server name."),
    counter("tcp.sni_preread.rejected.*", "sozu_tcp_sni_rejected_total", "TLS connections that were not passed on.").named("reason"),
    counter("udp.datagrams.in", "sozu_udp_received_datagrams_total", "Datagrams passed from clients to backends."),
    counter("udp.datagrams.out", "sozu_udp_sent_datagrams_total", "Datagrams passed from backends to clients."),
    counter("udp.bytes.in", "sozu_udp_received_bytes_total", "Bytes passed from clients to backends in datagrams."),
    counter("udp.bytes.out", "sozu_udp_sent_bytes_total", "Bytes passed from backends to clients in datagrams."),
    gauge("udp.active_flows", "sozu_udp_flows", "Open UDP flows."),
    counter("udp.flows.created", "sozu_udp_flows_created_total", "UDP flows that began."),
    counter("udp.flows.evicted", "sozu_udp_flows_evicted_total", "UDP flows that ended."),
    counter("udp.flows.shed", "sozu_udp_flows_shed_total", "UDP flows that were refused."),
    counter("udp.flows.shed.source_limit", "sozu_udp_flows_shed_by_source_total", "UDP flows that were refused because their source has too many."),
    counter("udp.datagrams.dropped", "sozu_udp_datagrams_dropped_total", "Datagrams dropped."),
    counter("udp.datagrams.dropped.*", "sozu_udp_datagrams_dropped_by_reason_total", "Datagrams dropped, by reason; each is in the sum, too.").named("reason"),
    counter("udp.backend.health", "sozu_udp_backend_health_changes_total", "Changes of a UDP backend's health."),
    time("udp.flow.duration", "sozu_udp_flow_seconds", "Length of a UDP flow."),
    gauge("tls.cert.min_expires_at_seconds", "sozu_tls_certificate_earliest_not_after_timestamp_seconds", "When the certificate that expires first does so, in seconds since 1970."),
    counter("tls.default_cert_used", "sozu_tls_default_certificate_total", "TLS handshakes that got the default certificate."),
    time("tls.handshake_ms", "sozu_tls_handshake_seconds", "Time for a TLS handshake."),
    counter("tls.handshake.failed.*", "sozu_tls_handshake_failures_total", "TLS handshakes that failed.").named("reason"),
    counter("tls.version.*", "sozu_tls_handshakes_by_version_total", "TLS handshakes by version.").named("version"),
    counter("tls.cipher.*", "sozu_tls_handshakes_by_cipher_total", "TLS handshakes by cipher suite.").named("cipher"),
    gauge("websocket.active_requests", "sozu_websocket_active_requests", "Open WebSockets."),
    counter("panic", "sozu_panics_total", "Panics that a worker survived."),
    counter("zombies", "sozu_zombie_sessions_total", "Sessions that were removed because nothing happened on them."),
];

/// A cluster; with the detail `backend`, its backends, if Sōzu itself tells them apart (`metrics.detail = "backend"` in its configuration).
#[rustfmt::skip]
const CLUSTER: &[Row] = &[
    counter("access_logs.count", "sozu_cluster_access_logs_total", "Access logs of the cluster."),
    counter("bytes_in", "sozu_cluster_received_bytes_total", "Bytes received from clients of the cluster, counted when a request or a connection ends."),
    counter("bytes_out", "sozu_cluster_sent_bytes_total", "Bytes sent to clients of the cluster, counted when a request or a connection ends."),
    least("backend.available", "sozu_cluster_backend_available", "1 if the backend may get traffic, by the word of the worker that thinks worst of it; without the backend's label, of the backend that changed last."),
    sum("connections_per_backend", "sozu_cluster_backend_connections", "Open connections to the cluster's backends."),
    time("backend_connection_time", "sozu_cluster_backend_connection_seconds", "Time to open a connection to a backend."),
    time("backend_header_time", "sozu_cluster_backend_header_seconds", "Time from an open connection to a backend to the end of its response's headers."),
    time("backend_response_time", "sozu_cluster_backend_response_seconds", "Time from the request's way to a backend to the end of its response."),
    counter("requests", "sozu_cluster_requests_total", "Requests that a backend of the cluster answered; for TCP, connections."),
    counter("backend.shard.spillover", "sozu_cluster_backend_shard_spillovers_total", "Choices outside of the client's shard, because none in it could take a connection."),
    counter("backend.shard.exhausted", "sozu_cluster_backend_shard_exhausted_total", "Requests refused because no backend of the client's shard could take a connection."),
    counter("backend.up", "sozu_cluster_backend_up_total", "Backends that came back."),
    counter("backend.down", "sozu_cluster_backend_down_total", "Backends that went down."),
    counter("backend.connections.error", "sozu_cluster_backend_connection_errors_total", "Connections to backends that could not be opened."),
    counter("backend.connect.retries_exhausted", "sozu_cluster_backend_connect_retries_exhausted_total", "Requests for which no connection to a backend could be opened after all tries."),
    counter("backend.retry.stale_upstream", "sozu_cluster_backend_stale_retries_total", "Requests sent again because a pooled connection ended without an answer."),
    least("cluster.available_backends", "sozu_cluster_available_backends", "Backends that may get traffic, by the word of the worker that thinks worst."),
    most("cluster.total_backends", "sozu_cluster_backends", "Backends of the cluster."),
    counter("cluster.available_recovered", "sozu_cluster_recovered_total", "Times that the cluster had a backend again after it had none."),
    counter("cluster.no_available_backends", "sozu_cluster_no_available_backends_total", "Times that the cluster lost its last backend that may get traffic."),
    counter("connections.rejected_per_cluster_ip", "sozu_cluster_connections_rejected_per_source_total", "Requests of the cluster refused because their source has too many connections to it."),
    time("frontend_matching_time", "sozu_cluster_frontend_matching_seconds", "Time to find the frontend of a request."),
    time("request_time", "sozu_cluster_request_seconds", "Time from a request's first byte to the last of its response."),
    time("service_time", "sozu_cluster_service_seconds", "Time that the worker itself spent on a request."),
    least("health_check.healthy_backends", "sozu_cluster_healthy_backends", "Backends that pass their health check, by the word of the worker that thinks worst."),
    counter("http.errors", "sozu_cluster_http_errors_total", "Requests of the cluster that Sōzu answered itself, or that ended without an answer."),
    counter("http.*.errors", "sozu_cluster_http_default_answers_total", "Requests of the cluster that Sōzu answered itself with an error.").named("code"),
    counter("http.*.redirection", "sozu_cluster_http_redirections_total", "Requests of the cluster that Sōzu redirected.").named("code"),
    counter("http.status.none", "sozu_cluster_http_responses_total", "Requests of the cluster by the class of their status; none for those that ended without one.").with("class", "none"),
    counter("http.status.other", "sozu_cluster_http_responses_total", "Requests of the cluster by the class of their status; none for those that ended without one.").with("class", "other"),
    counter("http.status.1xx", "sozu_cluster_http_responses_total", "Requests of the cluster by the class of their status; none for those that ended without one.").with("class", "1xx"),
    counter("http.status.2xx", "sozu_cluster_http_responses_total", "Requests of the cluster by the class of their status; none for those that ended without one.").with("class", "2xx"),
    counter("http.status.3xx", "sozu_cluster_http_responses_total", "Requests of the cluster by the class of their status; none for those that ended without one.").with("class", "3xx"),
    counter("http.status.4xx", "sozu_cluster_http_responses_total", "Requests of the cluster by the class of their status; none for those that ended without one.").with("class", "4xx"),
    counter("http.status.5xx", "sozu_cluster_http_responses_total", "Requests of the cluster by the class of their status; none for those that ended without one.").with("class", "5xx"),
    counter("http.status.*", "sozu_cluster_http_status_total", "Requests of the cluster by their status, for the statuses that Sōzu counts apart; each is in the classes, too.").named("code"),
];

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const SCOPES: [Scope; 3] = [Scope::Main, Scope::Proxy, Scope::Cluster];

    #[test]
    fn a_family_has_one_kind_and_the_suffix_that_is_due() {
        let mut families = HashMap::new();
        for scope in SCOPES {
            for row in scope.rows() {
                let name = row.family;
                let shown = row.kind.shown(scope);
                assert_eq!(*families.entry(name).or_insert(shown), shown, "{name}");
                assert_eq!(shown == Type::Counter, name.ends_with("_total"), "{name}");
                assert!(name.starts_with("sozu_") && !row.help.is_empty(), "{name}");
                for suffix in ["_bucket", "_count", "_sum", "_created", "_info"] {
                    assert!(!name.ends_with(suffix), "{name}");
                }
                if row.kind == Kind::Time {
                    assert!(name.ends_with("_seconds"), "{name}");
                }
                if row.kind == Kind::Percent {
                    assert!(name.ends_with("_ratio"), "{name}");
                }
                assert_eq!(
                    row.named.is_some(),
                    row.source.contains('*'),
                    "{}",
                    row.source
                );
            }
        }
    }

    #[test]
    fn no_two_lines_give_the_same_series() {
        for scope in SCOPES {
            let mut seen = HashSet::new();
            for row in scope.rows() {
                assert!(seen.insert(row.source), "{} twice", row.source);
                let shared =
                    |other: &&Row| other.family == row.family && other.source != row.source;
                for other in scope.rows().iter().filter(shared) {
                    let apart = row.fixed != other.fixed
                        || (row.named.is_some() && other.named == row.named);
                    assert!(
                        apart,
                        "{} and {} are both {}",
                        row.source, other.source, row.family
                    );
                }
            }
        }
    }

    #[test]
    fn a_star_takes_what_is_between() {
        let row = counter("http.*.errors", "sozu_x_total", "X.").named("code");
        assert_eq!(row.fits("http.404.errors"), Some("404"));
        assert_eq!(row.fits("http.errors"), None);
        assert_eq!(row.fits("http..errors"), None);
        assert_eq!(counter("a.b", "sozu_a_total", "A.").fits("a.b"), Some(""));
    }
}
