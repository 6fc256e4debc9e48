//! The values that labels can take.

use super::handles::Label;

macro_rules! label {
    (
        $(#[$about:meta])*
        $name:ident, $key:literal { $($(#[$note:meta])* $variant:ident => $text:literal,)+ }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$note])* $variant,)+
        }

        impl Label for $name {
            const KEY: &'static str = $key;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

label! {
    /// Says what was done with a connection that arrived.
    ConnectionAccept, "result" {
        /// It was let in.
        Accepted => "accepted",
        /// It was closed because too many are open.
        RefusedLimit => "refused_limit",
        /// It was closed because too many from its address are open.
        RefusedAddressLimit => "refused_address_limit",
        /// It was closed because memory is short.
        RefusedMemory => "refused_memory",
        /// It was closed because it did not begin with a PROXY header, or a malformed one.
        RefusedProxyHeader => "refused_proxy_header",
        /// It was closed because its PROXY header took too long.
        ProxyHeaderTimeout => "proxy_header_timeout",
        /// The load balancer closed it before a PROXY header, as in a health check.
        NoProxyHeader => "no_proxy_header",
    }
}

label! {
    /// Says for which rate a peer's credit was held back.
    PacedBy, "limit" {
        /// It was that of its stream.
        Stream => "stream",
        /// It was that of all streams from its address.
        Address => "address",
    }
}

label! {
    /// Says what became of a stream that was to find its partner at the successor.
    SuccessorStream, "result" {
        /// It found its partner there.
        Forwarded => "forwarded",
        /// The successor would not take it.
        Refused => "refused",
        /// There was no successor in time.
        Unreachable => "unreachable",
        /// It ended while it waited, or met its partner here after all.
        GivenUp => "given_up",
    }
}

label! {
    /// Says why a call that is no stream was refused, or ended early.
    CallRefusal, "cause" {
        /// It was not gRPC.
        NotGrpc => "not_grpc",
        /// Its `grpc-timeout` could not be read.
        MalformedTimeout => "malformed_timeout",
        /// Its connection had too many.
        TooManyOnConnection => "too_many_on_connection",
        /// The router had too many.
        TooMany => "too_many",
        /// A newer one needed its place.
        MadeRoom => "made_room",
        /// Memory was short.
        Memory => "memory",
        /// Its request was too large.
        TooLarge => "too_large",
        /// Its request was no message.
        Malformed => "malformed",
        /// It did not go on.
        TooSlow => "too_slow",
        /// Its caller's own deadline passed.
        Deadline => "deadline",
    }
}

label! {
    /// Says whether the other end of a forwarded stream proved that it is a router.
    RouterProof, "result" {
        /// The caller proved it.
        CallerGood => "caller_good",
        /// The caller showed no proof.
        CallerMissing => "caller_missing",
        /// The caller showed a proof that does not fit.
        CallerWrong => "caller_wrong",
        /// The caller showed a proof of another time.
        CallerStale => "caller_stale",
        /// The successor proved it.
        SuccessorGood => "successor_good",
        /// The successor showed no proof.
        SuccessorMissing => "successor_missing",
        /// The successor showed a proof that does not fit.
        SuccessorWrong => "successor_wrong",
    }
}

label! {
    /// Says what became of an announcement of a half that waits for one at another router.
    ClusterAnnouncement, "result" {
        /// It was published.
        Sent => "sent",
        /// The bus did not take it.
        NotSent => "not_sent",
        /// It is for a half that waits here.
        Heard => "heard",
        /// It is for halves that do not wait here.
        OfOthers => "of_others",
        /// It was not made with the key of the half that it is for.
        Unproven => "unproven",
        /// It is none of a version known here.
        Unreadable => "unreadable",
    }
}

label! {
    /// Says how a call between two routers ended.
    ClusterCall, "result" {
        /// The halves have met.
        Met => "met",
        /// The half there had gone.
        Nobody => "nobody",
        /// The other router would not take it.
        Refused => "refused",
        /// The other router did not answer.
        Unreachable => "unreachable",
        /// The half here ended meanwhile.
        GivenUp => "given_up",
    }
}

label! {
    /// Says how a TLS handshake ended.
    TlsHandshake, "result" {
        /// It succeeded and HTTP/2 was agreed on.
        Ok => "ok",
        /// The peers did not agree or one broke off.
        Failed => "failed",
        /// The peer showed no certificate, and had to.
        NoCertificate => "no_certificate",
        /// The peer showed a certificate that is not accepted.
        BadCertificate => "bad_certificate",
        /// It took too long.
        Timeout => "timeout",
        /// It succeeded, but HTTP/2 was not agreed on.
        NoAlpn => "no_alpn",
        /// The peer did not speak TLS.
        Plaintext => "plaintext",
    }
}

label! {
    /// Says why an accepted connection ended.
    ConnectionEnd, "reason" {
        /// The peer closed it in good order.
        PeerClosed => "peer_closed",
        /// Reading or writing failed.
        TransportError => "transport_error",
        /// The peer broke HTTP/2's rules.
        ProtocolError => "protocol_error",
        /// The TLS handshake took too long.
        TlsTimeout => "tls_timeout",
        /// The peer did not send HTTP/2's preface in time.
        PrefaceTimeout => "preface_timeout",
        /// The peer opened no stream in time.
        FirstStreamTimeout => "first_stream_timeout",
        /// It had no stream for too long.
        Idle => "idle",
        /// It had no stream, and memory was short.
        Memory => "memory",
        /// It had no stream, and another connection needed its place.
        MadeRoom => "made_room",
        /// It reached its greatest age.
        Age => "age",
        /// The peer did not answer a ping in time.
        KeepaliveTimeout => "keepalive_timeout",
        /// The peer did not read what was sent to it.
        WriteStalled => "write_stalled",
        /// The router drained.
        Drained => "drained",
        /// The peer spoke something other than HTTP/2.
        NotHttp2 => "not_http2",
        /// Its task panicked.
        Panicked => "panicked",
    }
}

label! {
    /// Says what became of a changed configuration.
    Reload, "result" {
        /// It is in force.
        Ok => "ok",
        /// It was refused; the old one stays in force.
        Failed => "failed",
    }
}

label! {
    /// Says what an administrator did.
    AdminAction, "action" {
        /// The administrator ended a stream.
        EndStream => "end_stream",
        /// The administrator asked for the drain.
        Drain => "drain",
        /// The administrator changed the log filter.
        LogFilter => "log_filter",
        /// The controller's side told who takes part in a stream.
        Names => "names",
    }
}

label! {
    /// Says why a request to the administrator's address was refused.
    AdminRefusal, "cause" {
        /// It was for a host that a stranger may have made point here.
        Host => "host",
        /// A page of another origin sent it.
        Origin => "origin",
        /// It did not carry the token.
        Token => "token",
        /// It was to change something, and its token only reads.
        ReadOnly => "read_only",
        /// It was to change something and was not JSON.
        ContentType => "content_type",
    }
}
