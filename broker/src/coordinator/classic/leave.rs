//! Members go: by their own word, by an administrator's, or by their silence.

use std::rc::Rc;

use spate_net::kafka::{
    KafkaString,
    api::leave_group::{MemberIdentity, MemberResponse},
    error::ErrorCode,
};

use super::{Action, Alarm, ClassicGroup, MemberId, Rules, State, UNKNOWN_MEMBER};

impl ClassicGroup {
    pub(super) fn leave_all(
        &mut self,
        members: &[MemberIdentity],
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) -> Vec<MemberResponse> {
        let mut answers = Vec::with_capacity(members.len());
        let mut somebody_left = false;
        for member in members {
            let outcome = self.leave_one(member, actions);
            somebody_left |= outcome.is_ok();
            let code = outcome.err().unwrap_or(ErrorCode::None);
            let own = |text: &KafkaString| KafkaString::from(text.as_str().to_owned());
            let answer = MemberResponse::default()
                .with_member_id(own(&member.member_id))
                .with_group_instance_id(member.group_instance_id.as_ref().map(own))
                .with_error_code(code.code());
            answers.push(answer);
        }
        if somebody_left {
            self.after_departure(rules, now_ms, actions);
        }
        answers
    }

    fn leave_one(
        &mut self,
        asked: &MemberIdentity,
        actions: &mut Vec<Action>,
    ) -> Result<(), ErrorCode> {
        let id = asked.member_id.as_str();
        let instance = asked.group_instance_id.as_ref().map(KafkaString::as_str);
        if self.pending_joins.remove(id) {
            actions.push(Action::Disarm(Alarm::Member(id.into())));
            return Ok(());
        }
        let id: MemberId = if id == UNKNOWN_MEMBER {
            // An administrator knows the instance and not the id that it has at the moment.
            let holder = instance.and_then(|instance| self.instances.get(instance));
            Rc::clone(holder.ok_or(ErrorCode::UnknownMemberId)?)
        } else {
            Rc::clone(&self.check_member(id, instance)?.id)
        };
        self.dismiss(&id, actions);
        Ok(())
    }

    /// Takes a member out and answers whoever waits for it.
    fn dismiss(&mut self, id: &MemberId, actions: &mut Vec<Action>) {
        if let Some(member) = self.remove(id, actions) {
            member.turn_away(ErrorCode::UnknownMemberId, actions);
        }
    }

    fn after_departure(&mut self, rules: &Rules, now_ms: i64, actions: &mut Vec<Action>) {
        match self.state {
            State::Stable | State::Completing => self.prepare(rules, now_ms, actions),
            State::Preparing => self.go_on(now_ms, actions),
            State::Empty | State::Dead => {}
        }
    }

    /// A member's alarm rang.
    pub(super) fn silent(
        &mut self,
        id: &MemberId,
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        if self.pending_joins.remove(id) {
            return self.go_on(now_ms, actions);
        }
        let Some(member) = self.members.get(id) else {
            return;
        };
        // One that waits for us cannot speak; a new one that waits for too long has given up.
        let is_waiting = member.awaiting_join.is_some() || member.awaiting_sync.is_some();
        if is_waiting && !member.is_new {
            return;
        }
        self.dismiss(id, actions);
        self.after_departure(rules, now_ms, actions);
    }

    /// Members that joined and never asked for their assignment are out.
    pub(super) fn sync_alarm_rang(
        &mut self,
        rules: &Rules,
        now_ms: i64,
        actions: &mut Vec<Action>,
    ) {
        let is_due = matches!(self.state, State::Completing | State::Stable);
        if !is_due || self.pending_syncs.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.pending_syncs) {
            self.dismiss(&id, actions);
        }
        self.prepare(rules, now_ms, actions);
    }
}
