//! From metadata to images: what the shards are to see after each change.

use std::{collections::HashMap, sync::Arc};

use spate_storage::types::TopicId;

use super::metadata::state::{State, Topic};
use crate::{
    config::{Config, topic::TopicConfig},
    image::{Image, ImageVersion, NodeInfo, StartNumber, TopicImage},
};

/// Makes the images of one process, each a little different from the last: topics that did not
/// change are shared between them.
pub struct Publisher {
    config: Arc<Config>,
    cluster_id: Arc<str>,
    node: NodeInfo,
    aliases: Arc<[NodeInfo]>,
    topics: HashMap<TopicId, Arc<TopicImage>>,
    version: ImageVersion,
}

impl Publisher {
    /// A publisher that has published nothing.
    #[must_use]
    pub fn new(config: Arc<Config>, cluster_id: Arc<str>, node: NodeInfo) -> Publisher {
        let version = ImageVersion(0);
        Publisher {
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

    /// An image of the state, and the topics that the last image had and this one has not.
    pub fn publish(&mut self, state: &State) -> (Arc<Image>, Vec<TopicId>) {
        let before = std::mem::take(&mut self.topics);
        let start = state.present_start();
        for (id, topic) in state.topics() {
            let image = match before.get(&id) {
                Some(image) if is_same(image, topic) => Arc::clone(image),
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
        )
        .with_aliases(Arc::clone(&self.aliases));
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
            config: TopicConfig::effective(&self.config.settings, &topic.settings),
            overrides: topic.settings.clone(),
        }
    }
}

fn is_same(image: &TopicImage, topic: &Topic) -> bool {
    image.partitions == topic.partitions && image.overrides == topic.settings
}
