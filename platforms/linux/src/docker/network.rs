//! Networks: one bridge for each network of each application, made when it is first needed.

use std::collections::BTreeMap;

use bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkCreateRequest};
use lightship_spec::container::NetworkMode;

use super::fault::Answer as _;
use super::{Inner, LABEL, Plan, container_name};
use crate::engine::Error;

/// The bridges that the container is on, by their names in the engine, with the names it answers to.
pub(super) fn bridges(plan: &Plan) -> Option<BTreeMap<String, Vec<String>>> {
    let NetworkMode::Bridge(networks) = &plan.spec.network.mode else {
        return None;
    };
    let name = |network: &str| format!("lightship-{}_{network}", plan.spec.application);
    let own = plan.record.name.clone();
    if networks.is_empty() {
        return Some(BTreeMap::from([(name("default"), vec![own])]));
    }
    let with_aliases = networks.iter().map(|(network, aliases)| {
        let mut all = vec![own.clone()];
        all.extend(aliases.iter().filter(|alias| **alias != own).cloned());
        (name(network), all)
    });
    Some(with_aliases.collect())
}

impl Inner {
    /// What `NetworkMode` of the API has to say; bridges are made.
    pub(super) async fn network_mode(&self, plan: &Plan) -> Result<String, Error> {
        match &plan.spec.network.mode {
            NetworkMode::Host => Ok("host".to_owned()),
            NetworkMode::None => Ok("none".to_owned()),
            NetworkMode::Service(name) => self.container_of(&plan.spec.application, name).await,
            NetworkMode::Bridge(_) => {
                let bridges = bridges(plan).expect("the mode is bridge");
                for network in bridges.keys() {
                    self.make_network(network).await?;
                }
                Ok(bridges
                    .into_keys()
                    .next()
                    .expect("there is at least the default network"))
            }
        }
    }

    async fn make_network(&self, name: &str) -> Result<(), Error> {
        let known = self.docker.inspect_network(name, None).await;
        if known.unless(&[404], "looking for a network")?.is_some() {
            return Ok(());
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some([(LABEL.to_owned(), "network".to_owned())].into()),
            ..NetworkCreateRequest::default()
        };
        // 409: another service made it meanwhile.
        let made = self.docker.create_network(request).await;
        made.unless(&[409], "making a network").map(|_| ())
    }

    /// Puts a container on those of its bridges that it is not on yet.
    pub(super) async fn join(&self, plan: &Plan) -> Result<(), Error> {
        let Some(bridges) = bridges(plan) else {
            return Ok(());
        };
        let container = plan.container();
        let state = self.inspect(&container).await?;
        let state = state.ok_or_else(|| Error::Absent(container.clone()))?;
        let on = state
            .network_settings
            .and_then(|settings| settings.networks)
            .unwrap_or_default();
        for (network, aliases) in bridges {
            if on.contains_key(&network) {
                continue;
            }
            let request = NetworkConnectRequest {
                container: container.clone(),
                endpoint_config: Some(EndpointSettings {
                    aliases: Some(aliases),
                    ..EndpointSettings::default()
                }),
            };
            let joined = self.docker.connect_network(&network, request).await;
            // 403: it is on it already.
            joined.unless(&[403], "joining a network")?;
        }
        Ok(())
    }

    /// The running container of a service of the same application.
    async fn container_of(&self, application: &str, service: &str) -> Result<String, Error> {
        for record in self.records().await? {
            if record.name != service {
                continue;
            }
            let name = container_name(&record);
            let Some(state) = self.inspect(&name).await? else {
                continue;
            };
            let running = state.state.and_then(|state| state.running) == Some(true);
            let plan = self.plan(record).await?;
            if running && plan.spec.application == application {
                return Ok(format!("container:{}", state.id.unwrap_or(name)));
            }
        }
        let why = format!("service {service:?}, whose network it uses, does not run");
        Err(Error::Start(why))
    }
}
