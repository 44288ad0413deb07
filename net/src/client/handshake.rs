//! The first words on a new connection: which versions the broker speaks, and, where it wants to
//! know, who the client is. One request at a time, before anything is pipelined.

use std::net::SocketAddr;

use bytes::Bytes;

use super::channel::Channel;
use super::connection::ConnectionSettings;
use super::error::ClientError;
use super::security::Sasl;
use super::versions::BrokerVersions;
use crate::frame::{FrameReader, Unplanned, read_frame};
use crate::kafka::api::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::kafka::api::{Call, Message};
use crate::kafka::error::{ErrorCode, WireError};
use crate::kafka::header::parse_response;
use crate::kafka::versions::ApiKey;
use crate::reactor::timeout;

/// Connects to a broker, encrypted and authenticated as the settings say.
pub async fn open(
    peer: SocketAddr,
    settings: &ConnectionSettings,
) -> Result<(Channel, BrokerVersions), ClientError> {
    let channel = connect(peer, settings).await?;
    let mut handshake = Handshake {
        channel: &channel,
        peer,
        settings,
        reader: FrameReader::new(settings.limits),
        correlation_id: 0,
    };
    let versions = handshake.negotiate().await?;
    if let Some(sasl) = &settings.security.sasl {
        handshake.authenticate(sasl, &versions).await?;
    }
    Ok((channel, versions))
}

/// Connects, and says nothing yet.
pub(super) async fn connect(
    peer: SocketAddr,
    settings: &ConnectionSettings,
) -> Result<Channel, ClientError> {
    let (host, tls) = (settings.host.as_deref(), settings.security.tls.as_ref());
    let connecting = timeout(settings.request_timeout, Channel::connect(peer, host, tls));
    let connected = connecting.await;
    let channel = connected.unwrap_or(Err(std::io::ErrorKind::TimedOut.into()));
    channel.map_err(|source| ClientError::Connect { peer, source })
}

struct Handshake<'a> {
    channel: &'a Channel,
    peer: SocketAddr,
    settings: &'a ConnectionSettings,
    reader: FrameReader,
    correlation_id: i32,
}

impl Handshake<'_> {
    /// Asks in our highest version; a broker that does not know it says which it knows, in
    /// version 0.
    async fn negotiate(&mut self) -> Result<BrokerVersions, ClientError> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name("spate".to_owned().into())
            .with_client_software_version(env!("CARGO_PKG_VERSION").to_owned().into());
        let mut version = ApiVersionsRequest::RANGE.max;
        loop {
            let frame = self.exchange(version, &request).await?;
            let response = read_versions(version, &frame).map_err(wire::<ApiVersionsRequest>)?;
            let known = BrokerVersions::of(&response);
            match ErrorCode::from(response.error_code) {
                ErrorCode::None => return Ok(known),
                // Before Kafka 2.4 the list is empty: version 0 is spoken by all.
                ErrorCode::UnsupportedVersion if version > 0 => {
                    let theirs = known.range(ApiKey::ApiVersions).map_or(0, |(_, max)| max);
                    version = theirs.min(version - 1);
                }
                code => return Err(ClientError::refused("ApiVersions".to_owned(), code, None)),
            }
        }
    }

    async fn authenticate(
        &mut self,
        sasl: &Sasl,
        versions: &BrokerVersions,
    ) -> Result<(), ClientError> {
        let answer = self.call(versions, &sasl.handshake()).await?;
        let offered: Vec<&str> = answer.mechanisms.iter().map(|name| name.as_str()).collect();
        let offered = match offered.is_empty() {
            true => "the broker wants no SASL on this listener".to_owned(),
            false => format!("the broker offers {}", offered.join(", ")),
        };
        check(answer.error_code, Some(&offered))?;
        let mut exchange = sasl.exchange()?;
        while let Some(token) = exchange.next()? {
            let answer = self.call(versions, &token).await?;
            let message = answer.error_message.as_ref().map(|text| text.as_str());
            check(answer.error_code, message)?;
            exchange.answer(&answer.auth_bytes);
        }
        Ok(())
    }

    async fn call<R: Call>(
        &mut self,
        versions: &BrokerVersions,
        request: &R,
    ) -> Result<R::Answer, ClientError> {
        let version = versions.pick(&R::RANGE)?;
        let frame = self.exchange(version, request).await?;
        let answer = parse_response(&R::RANGE, version, &frame)
            .and_then(|(_, mut body)| R::Answer::read(&mut body, version));
        answer.map_err(wire::<R>)
    }

    async fn exchange<R: Call>(&mut self, version: i16, request: &R) -> Result<Bytes, ClientError> {
        let id = self.correlation_id;
        self.correlation_id += 1;
        let frame = request.frame(version, id, Some(&self.settings.client_id));
        let frame = frame.map_err(wire::<R>)?;
        let waited = self.settings.request_timeout;
        let late = || ClientError::Timeout {
            peer: self.peer,
            api: R::RANGE.key,
            waited,
        };
        let (channel, reader) = (self.channel, &mut self.reader);
        let answer = timeout(waited, async {
            channel
                .send(frame)
                .await
                .map_err(|error| error.to_string())?;
            let frame = read_frame(channel, reader, &Unplanned).await;
            let frame = frame.map_err(|error| error.to_string())?;
            let frame = frame.ok_or("the broker closed it")?;
            match frame.bytes.first_chunk().map(|id| i32::from_be_bytes(*id)) {
                Some(came) if came == id => Ok(frame.bytes),
                came => Err(format!(
                    "an answer with correlation id {came:?} came where {id} was due"
                )),
            }
        });
        let answer = answer.await.map_err(|_| late())?;
        answer.map_err(|reason: String| ClientError::Closed {
            peer: self.peer,
            reason: reason.into(),
        })
    }
}

/// The answer to ApiVersions, whose refusal comes in version 0.
fn read_versions(version: i16, frame: &Bytes) -> Result<ApiVersionsResponse, WireError> {
    let (_, mut body) = parse_response(&ApiVersionsRequest::RANGE, version, frame)?;
    let refused = ErrorCode::UnsupportedVersion.code().to_be_bytes();
    let spoken = if body.starts_with(&refused) {
        0
    } else {
        version
    };
    Message::read(&mut body, spoken)
}

fn wire<R: Call>(source: WireError) -> ClientError {
    ClientError::Wire {
        api: R::RANGE.key,
        source,
    }
}

fn check(code: i16, message: Option<&str>) -> Result<(), ClientError> {
    match ErrorCode::from(code) {
        ErrorCode::None => Ok(()),
        code => Err(ClientError::refused(
            "authentication".to_owned(),
            code,
            message,
        )),
    }
}
