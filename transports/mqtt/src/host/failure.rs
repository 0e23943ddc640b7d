//! What rumqttc's errors mean.

use std::io;

use lightship_link::{Failure, Misconduct, Unreachable};
use rumqttc::TlsError;
use rumqttc::v5::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::v5::{ConnectReturnCode, DisconnectReasonCode, PubAckReason};
use rumqttc::v5::{ConnectionError, StateError};

/// Names an error. `is_connected` tells a connection that broke from one that never was.
pub(super) fn of(error: &ConnectionError, is_connected: bool) -> Failure {
    match error {
        ConnectionError::MqttState(error) => state(error),
        ConnectionError::Timeout(_) => Failure::Unreachable(Unreachable::Silent),
        ConnectionError::Tls(TlsError::TLS(error)) => tls(error),
        ConnectionError::Tls(TlsError::Io(error)) => io(error, is_connected),
        ConnectionError::Tls(_) => Failure::Untrusted,
        ConnectionError::Io(error) => io(error, is_connected),
        ConnectionError::ConnectionRefused(code) => refused(*code),
        ConnectionError::NotConnAck(_) => Failure::Misbehaved(Misconduct::Sequence),
        ConnectionError::RequestsDone => Failure::Closed,
    }
}

fn state(error: &StateError) -> Failure {
    match error {
        StateError::Io(error) => io(error, true),
        StateError::ConnectionAborted => Failure::Unreachable(Unreachable::Broken),
        StateError::AwaitPingResp | StateError::CollisionTimeout => {
            Failure::Unreachable(Unreachable::Silent)
        }
        StateError::OutgoingPacketTooLarge { .. } => Failure::TooLarge,
        StateError::IncomingPacketTooLarge { .. } => Failure::Misbehaved(Misconduct::Length),
        StateError::Deserialization(error) => packet(error),
        StateError::ServerDisconnect { reason_code, .. } => disconnected(*reason_code),
        StateError::ConnFail { reason } => refused(*reason),
        StateError::Coversion(_)
        | StateError::InvalidState
        | StateError::Unsolicited(_)
        | StateError::WrongPacket
        | StateError::EmptySubscription
        | StateError::InvalidAlias { .. } => Failure::Misbehaved(Misconduct::Sequence),
    }
}

fn packet(error: &PacketError) -> Failure {
    match error {
        PacketError::Io(error) => io(error, true),
        PacketError::PayloadSizeLimitExceeded { .. } | PacketError::MalformedRemainingLength => {
            Failure::Misbehaved(Misconduct::Length)
        }
        _ => Failure::Misbehaved(Misconduct::Garbage),
    }
}

fn refused(code: ConnectReturnCode) -> Failure {
    use ConnectReturnCode as Code;
    let retry_after_s = None;
    match code {
        Code::BadUserNamePassword
        | Code::NotAuthorized
        | Code::Banned
        | Code::BadAuthenticationMethod => Failure::Refused { retry_after_s },
        Code::ServerUnavailable
        | Code::ServerBusy
        | Code::QuotaExceeded
        | Code::ConnectionRateExceeded => Failure::Busy { retry_after_s },
        Code::PacketTooLarge => Failure::TooLarge,
        _ => Failure::Misbehaved(Misconduct::Sequence),
    }
}

fn disconnected(code: DisconnectReasonCode) -> Failure {
    use DisconnectReasonCode as Code;
    let retry_after_s = None;
    match code {
        Code::SessionTakenOver => Failure::TakenOver,
        Code::NotAuthorized | Code::AdministrativeAction => Failure::Refused { retry_after_s },
        Code::ServerBusy
        | Code::QuotaExceeded
        | Code::MessageRateTooHigh
        | Code::ConnectionRateExceeded => Failure::Busy { retry_after_s },
        Code::KeepAliveTimeout => Failure::Unreachable(Unreachable::Silent),
        Code::PacketTooLarge => Failure::TooLarge,
        _ => Failure::Unreachable(Unreachable::Broken),
    }
}

/// What a broker that did not take a message has against it.
pub(super) fn declined(reason: PubAckReason) -> Option<Failure> {
    match reason {
        PubAckReason::Success | PubAckReason::NoMatchingSubscribers => None,
        PubAckReason::QuotaExceeded => Some(Failure::Busy {
            retry_after_s: None,
        }),
        _ => Some(Failure::Declined),
    }
}

fn io(error: &io::Error, is_connected: bool) -> Failure {
    if let Some(inner) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return tls(inner);
    }
    match error.kind() {
        io::ErrorKind::TimedOut => Failure::Unreachable(Unreachable::Silent),
        _ if is_connected => Failure::Unreachable(Unreachable::Broken),
        // Only the resolver fails without an error number of the system.
        _ if error.raw_os_error().is_none() && error.kind() != io::ErrorKind::UnexpectedEof => {
            Failure::Unreachable(Unreachable::Name)
        }
        _ => Failure::Unreachable(Unreachable::Connect),
    }
}

fn tls(error: &rustls::Error) -> Failure {
    use rustls::Error as Tls;
    match error {
        Tls::InvalidCertificate(_)
        | Tls::NoCertificatesPresented
        | Tls::PeerIncompatible(_)
        | Tls::AlertReceived(_) => Failure::Untrusted,
        _ => Failure::Misbehaved(Misconduct::Garbage),
    }
}
