//! From metadata to images: what the shards are to see after each change.

use std::{collections::HashMap, sync::Arc};

use spate_storage::types::TopicId;

use super::metadata::state::{State, Topic};
use crate::{
    config::{Config, layers::Layers, resource::ResourceKind, topic::TopicConfig},
    image::{Configs, Image, ImageVersion, MetadataEnd, NodeInfo, StartNumber, TopicImage},
};

/// Makes the images of one process, each a little different from the last: topics that did not
/// change are shared between them.
pub struct Publisher {
    config: Arc<Config>,
    cluster_id: Arc<str>,
    node: NodeInfo,
    aliases: Arc<[NodeInfo]>,
    topics: HashMap<TopicId, Arc<TopicImage>>,
    configs: Arc<Configs>,
    version: ImageVersion,
}

impl Publisher {
    /// A publisher that has published nothing.
    #[must_use]
    pub fn new(config: Arc<Config>, cluster_id: Arc<str>, node: NodeInfo) -> Publisher {
        let version = ImageVersion(0);
        let configs = Arc::new(Configs::started_with(config.settings.clone()));
        Publisher {
            configs,
            config,
            cluster_id,
            node,
            aliases: Arc::new([]),
            topics: HashMap::new(),
            version,
        }
    }

    /// The same for a node whose shards are brokers of their own too.
    #[must_use]
    pub fn with_aliases(self, aliases: Arc<[NodeInfo]>) -> Publisher {
        Publisher { aliases, ..self }
    }

    /// The topics of the last image, in no order.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicImage>> {
        self.topics.values()
    }

    /// The version of the last image.
    #[must_use]
    pub fn version(&self) -> ImageVersion {
        self.version
    }

    /// The settings that images are made with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The broker's settings as the last image has them.
    #[must_use]
    pub fn broker(&self) -> &Layers {
        &self.configs.broker
    }

    /// An image of the state, and the topics that the last image had and this one has not.
    pub fn publish(&mut self, state: &State) -> (Arc<Image>, Vec<TopicId>) {
        let before = std::mem::take(&mut self.topics);
        let configs = Arc::new(configs_of(state, &self.configs.broker, self.node.node_id));
        let defaults_changed = configs.broker.effective() != self.configs.broker.effective();
        self.configs = configs;
        let start = state.present_start();
        for (id, topic) in state.topics() {
            let image = match before.get(&id) {
                Some(image) if !defaults_changed && is_same(image, topic) => Arc::clone(image),
                _ => Arc::new(self.image_of(id, topic, start)),
            };
            self.topics.insert(id, image);
        }
        let dropped = before
            .into_keys()
            .filter(|id| !self.topics.contains_key(id))
            .collect();
        self.version = ImageVersion(self.version.0 + 1);
        let image = Image::new(
            self.version,
            Arc::clone(&self.cluster_id),
            self.node.clone(),
            self.topics.values().cloned(),
        );
        let end = MetadataEnd {
            offset: state.applied(),
            epoch: start.0,
        };
        let image = image
            .with_aliases(Arc::clone(&self.aliases))
            .with_configs(Arc::clone(&self.configs), end);
        (Arc::new(image), dropped)
    }

    fn image_of(&self, id: TopicId, topic: &Topic, present_start: StartNumber) -> TopicImage {
        TopicImage {
            id,
            name: topic.name.as_str().into(),
            partitions: topic.partitions,
            internal: topic.internal,
            created_at_start: topic.created_at_start,
            present_start,
            config: TopicConfig::effective(self.configs.broker.effective(), &topic.settings),
            overrides: topic.settings.clone(),
        }
    }
}

fn is_same(image: &TopicImage, topic: &Topic) -> bool {
    image.partitions == topic.partitions && image.overrides == topic.settings
}

fn configs_of(state: &State, before: &Layers, node_id: i32) -> Configs {
    let broker = |name: &str| {
        let own = state.config(ResourceKind::Broker, name);
        own.cloned().unwrap_or_default()
    };
    let all = |kind| {
        let things = state.configs(kind);
        things
            .map(|(name, own)| (name.clone(), own.clone()))
            .collect()
    };
    let (cluster, broker) = (broker(""), broker(&node_id.to_string()));
    let is_same = *before.cluster() == cluster && *before.broker() == broker;
    Configs {
        broker: if is_same {
            before.clone()
        } else {
            before.changed(cluster, broker)
        },
        groups: all(ResourceKind::Group),
        client_metrics: all(ResourceKind::ClientMetrics),
    }
}
