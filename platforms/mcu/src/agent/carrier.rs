//! MQTT, but for registrations: a device that enrols reaches nothing of its fleet but HTTP.

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use lightship_https::post::Entrance;
use lightship_link::Secret;
use lightship_mqtt::device::Runner;

use super::tunnel::Way;
use crate::limits::MESSAGE_BYTES;

/// Carries messages for ever, over MQTT, and registrations through the entrance.
pub(super) async fn carry<'w, 'd>(
    mut mqtt: Runner<'_, Way<'w, 'd>, NoopRawMutex, MESSAGE_BYTES>,
    entrance: Entrance<Way<'w, 'd>>,
) -> ! {
    let mut ended = None;
    loop {
        let credentials = mqtt.wanted(ended.take()).await;
        ended = Some(match credentials.secret {
            Secret::Provisioning(_) => {
                let (port, asked, memory) = mqtt.lend();
                entrance.serve(port, asked, memory).await
            }
            Secret::Api(_) => mqtt.serve(&credentials).await,
        });
    }
}
