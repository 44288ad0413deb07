//! Fetch sessions (KIP-227): what a consumer fetches, remembered between its requests, so that a
//! request names only what changed and an answer only what is new.
//!
//! A session lives on its connection's shard; another shard does not know its id and says so (70),
//! upon which clients begin a new one. Sessions are bounded by a setting: when all places are taken
//! the longest unused one makes room if it has been idle for two minutes, as in Kafka; else the
//! client gets no session and goes on without.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use spate_net::kafka::{api::TopicRef, error::ErrorCode};
use spate_storage::types::Offset;

/// How long a session must be unused before another may take its place
/// (`incremental.fetch.session.cache` eviction time in Kafka: 120 s).
const EVICT_AFTER: Duration = Duration::from_secs(120);

/// One partition that a client fetches, as it last asked for it.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The topic: by name up to Fetch v12, by id from v13 on.
    pub topic: TopicRef,
    /// The partition.
    pub partition: i32,
    /// The offset it reads next.
    pub from: Offset,
    /// The most bytes it takes of this partition.
    pub max_bytes: i32,
    /// The leader epoch it believes in; -1 if it does not care.
    pub leader_epoch: i32,
    /// The epoch of its last record; -1 if it did not say.
    pub last_fetched_epoch: i32,
}

/// What a client was last told of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    high_watermark: Offset,
    log_start: Offset,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    /// `None`: nothing yet, or an error, so that the next answer must speak of it.
    told: Option<Told>,
}

/// One client's session.
#[derive(Debug)]
pub struct Session {
    epoch: i32,
    by_id: bool,
    used: Instant,
    next_place: u64,
    places: HashMap<(TopicRef, i32), u64>,
    in_order: BTreeMap<u64, Cached>,
}

/// The sessions of one shard.
pub struct Sessions {
    limit: usize,
    next_id: i32,
    open: HashMap<i32, Session>,
}

/// The part of an answer that decides whether an incremental one must name the partition.
#[derive(Debug, Clone, Copy)]
pub struct News {
    /// It carries records or a diverging epoch.
    pub has_data: bool,
    /// It carries an error.
    pub is_error: bool,
    /// The high watermark in it.
    pub high_watermark: Offset,
    /// The log start offset in it.
    pub log_start: Offset,
}

impl Sessions {
    /// At most `limit` sessions. `seed` keeps the ids of different shards and starts apart.
    pub fn new(limit: usize, seed: u32) -> Sessions {
        Sessions {
            limit,
            next_id: (seed & 0x3fff_ffff) as i32,
            open: HashMap::new(),
        }
    }

    /// Sessions open now.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Opens a session for what a full request wants; `None` if there is no place for it.
    pub fn open(&mut self, wanted: Vec<Wanted>, by_id: bool, now: Instant) -> Option<i32> {
        if self.open.len() >= self.limit && !self.evict(now) {
            return None;
        }
        let mut session = Session {
            epoch: 1,
            by_id,
            used: now,
            next_place: 0,
            places: HashMap::new(),
            in_order: BTreeMap::new(),
        };
        for partition in wanted {
            session.want(partition);
        }
        loop {
            self.next_id = self.next_id.checked_add(1).unwrap_or(1);
            if !self.open.contains_key(&self.next_id) {
                break;
            }
        }
        self.open.insert(self.next_id, session);
        Some(self.next_id)
    }

    /// Ends a session; an unknown one is fine.
    pub fn close(&mut self, id: i32) {
        self.open.remove(&id);
    }

    /// Finds the session that an incremental request continues and moves its epoch on.
    ///
    /// # Errors
    /// 70 for an unknown id, 71 for another epoch than the next, 106 for a change between topic
    /// names and topic ids.
    pub fn resume(
        &mut self,
        id: i32,
        epoch: i32,
        by_id: bool,
        now: Instant,
    ) -> Result<&mut Session, ErrorCode> {
        let session = self
            .open
            .get_mut(&id)
            .ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if session.epoch != epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        session.used = now;
        Ok(session)
    }

    /// The session of an answer that is about to be sent, if it still lives.
    pub fn get_mut(&mut self, id: i32) -> Option<&mut Session> {
        self.open.get_mut(&id)
    }

    fn evict(&mut self, now: Instant) -> bool {
        let oldest = self.open.iter().min_by_key(|(_, session)| session.used);
        let Some((&id, session)) = oldest else {
            return false;
        };
        if now.saturating_duration_since(session.used) < EVICT_AFTER {
            return false;
        }
        self.open.remove(&id);
        true
    }
}

impl Session {
    /// Adds a partition, or changes what is asked of one.
    pub fn want(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        if let Some(cached) = self
            .places
            .get(&key)
            .and_then(|at| self.in_order.get_mut(at))
        {
            let topic = cached.wanted.topic.clone();
            cached.wanted = Wanted { topic, ..wanted };
            return;
        }
        // A session outlives its request by far.
        let topic = wanted.topic.detached();
        let place = self.new_place();
        self.places.insert((topic.clone(), wanted.partition), place);
        let wanted = Wanted { topic, ..wanted };
        self.in_order.insert(place, Cached { wanted, told: None });
    }

    /// Takes a partition out; an unknown one is fine.
    pub fn forget(&mut self, topic: &TopicRef, partition: i32) {
        if let Some(place) = self.places.remove(&(topic.clone(), partition)) {
            self.in_order.remove(&place);
        }
    }

    /// All that is fetched in this session, in the order in which it is served.
    pub fn wanted(&self) -> Vec<Wanted> {
        self.in_order
            .values()
            .map(|cached| cached.wanted.clone())
            .collect()
    }

    /// Whether an answer must name this partition; remembers that it was told. One that got data
    /// goes to the end of the order, so that a few busy partitions do not starve the others.
    pub fn tell(&mut self, topic: &TopicRef, partition: i32, news: News) -> bool {
        let key = (topic.clone(), partition);
        let Some(&place) = self.places.get(&key) else {
            return true;
        };
        let Some(cached) = self.in_order.get_mut(&place) else {
            return true;
        };
        let told = Told {
            high_watermark: news.high_watermark,
            log_start: news.log_start,
        };
        let must_speak = news.has_data || news.is_error || cached.told != Some(told);
        cached.told = (!news.is_error).then_some(told);
        if news.has_data
            && let Some(cached) = self.in_order.remove(&place)
        {
            let last = self.new_place();
            self.places.insert(key, last);
            self.in_order.insert(last, cached);
        }
        must_speak
    }

    fn new_place(&mut self) -> u64 {
        self.next_place += 1;
        self.next_place
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use spate_net::kafka::KafkaString;

    use super::*;

    fn orders() -> TopicRef {
        TopicRef::Name("orders".to_owned().into())
    }

    fn wanted(partition: i32) -> Wanted {
        Wanted {
            topic: orders(),
            partition,
            from: Offset(0),
            max_bytes: 1024,
            leader_epoch: -1,
            last_fetched_epoch: -1,
        }
    }

    fn quiet(high_watermark: i64) -> News {
        News {
            has_data: false,
            is_error: false,
            high_watermark: Offset(high_watermark),
            log_start: Offset(0),
        }
    }

    #[test]
    fn an_unchanged_partition_is_told_once() {
        let mut sessions = Sessions::new(4, 9);
        let id = sessions
            .open(vec![wanted(0)], false, Instant::now())
            .unwrap();
        let session = sessions.get_mut(id).unwrap();
        let topic = orders();
        assert!(session.tell(&topic, 0, quiet(5)));
        assert!(!session.tell(&topic, 0, quiet(5)));
        assert!(session.tell(&topic, 0, quiet(6)));
        assert!(session.tell(
            &topic,
            0,
            News {
                is_error: true,
                ..quiet(6)
            }
        ));
        assert!(
            session.tell(&topic, 0, quiet(6)),
            "recovery from an error is news"
        );
    }

    #[test]
    fn a_partition_with_data_goes_to_the_end() {
        let mut sessions = Sessions::new(4, 9);
        let id = sessions
            .open(vec![wanted(0), wanted(1)], false, Instant::now())
            .unwrap();
        let session = sessions.get_mut(id).unwrap();
        session.tell(
            &orders(),
            0,
            News {
                has_data: true,
                ..quiet(5)
            },
        );
        let order: Vec<_> = session
            .wanted()
            .iter()
            .map(|wanted| wanted.partition)
            .collect();
        assert_eq!(order, [1, 0]);
    }

    #[test]
    fn wrong_ids_epochs_and_naming_are_told_apart() {
        let now = Instant::now();
        let mut sessions = Sessions::new(4, 9);
        let id = sessions.open(vec![wanted(0)], false, now).unwrap();
        let unknown = sessions.resume(id + 1, 1, false, now).err();
        assert_eq!(unknown, Some(ErrorCode::FetchSessionIdNotFound));
        let skipped = sessions.resume(id, 2, false, now).err();
        assert_eq!(skipped, Some(ErrorCode::InvalidFetchSessionEpoch));
        let mixed = sessions.resume(id, 1, true, now).err();
        assert_eq!(mixed, Some(ErrorCode::FetchSessionTopicIdError));
        assert!(sessions.resume(id, 1, false, now).is_ok());
        assert!(sessions.resume(id, 2, false, now).is_ok());
    }

    #[test]
    fn only_a_long_idle_session_makes_room() {
        let start = Instant::now();
        let mut sessions = Sessions::new(1, 9);
        let first = sessions.open(vec![wanted(0)], false, start).unwrap();
        assert_eq!(
            sessions.open(vec![wanted(0)], false, start + Duration::from_secs(60)),
            None
        );
        let later = start + Duration::from_secs(121);
        assert!(
            sessions
                .open(vec![wanted(0)], false, later)
                .is_some_and(|id| id != first)
        );
        assert_eq!(sessions.len(), 1);
    }

    #[test]
    fn a_session_keeps_nothing_of_the_frame_that_opened_it() {
        let frame = Bytes::from(b"orders and much more".to_vec());
        let of_frame = || {
            let name = KafkaString::new(frame.slice(..6)).unwrap();
            let topic = TopicRef::Name(name);
            Wanted { topic, ..wanted(0) }
        };
        let mut sessions = Sessions::new(4, 9);
        let id = sessions.open(vec![of_frame()], false, Instant::now());
        let session = sessions.get_mut(id.unwrap()).unwrap();
        session.want(of_frame());
        assert_eq!(session.wanted().len(), 1);
        assert!(frame.is_unique());
    }
}
