"""Clear error replies of the policy processor: a code, the command's digest and the decision, signed. Never a result.

Policy holds no sealing key and sees no reply key, so it can only refuse. No text of the client is echoed.
"""

from dataclasses import dataclass

from keyfold.bus import Outbound
from keyfold.deciding.admission import Admitted, reply_topic_allowed
from keyfold.events import facts
from keyfold.events.command_envelope import ReplyAddress
from keyfold.events.errors import AlreadyExecuted
from keyfold.events.replies import CORRELATION_HEADER, Reply, ReplyData
from keyfold.events.signatures import Signer, reply_message
from keyfold.events.statements import SIGNATURE_HEADER, SIGNER_HEADER
from keyfold.events.streams import key_id_of
from keyfold.policy.memory import Summary


@dataclass(frozen=True, slots=True)
class Refused:
    """What is refused: the command by record key, id and digest, why, and the decision's event if there is one."""

    record_key: bytes
    command_id: str
    digest: str
    code: str
    decision: str | None = None


@dataclass(frozen=True, slots=True)
class Answerer:
    """Signs refusals for one deployment."""

    deployment: str
    signer: Signer

    def refusal(self, address: ReplyAddress, refused: Refused) -> Outbound | None:
        """Return the reply, or None where the address is outside the allowed topics."""
        data = ReplyData(
            command_id=refused.command_id,
            command_digest=refused.digest,
            outcome=facts.CommandDenied.type_name,
            code=refused.code,
            key_id=key_id_of(refused.record_key.decode()),
            decision=refused.decision,
        )
        return self._outbound(address, refused.record_key, data)

    def executed_before(self, admitted: Admitted, summary: Summary) -> Outbound | None:
        """Return the answer to a command that was finished before: what came of it, never the result again."""
        data = ReplyData(
            command_id=admitted.command.id,
            command_digest=admitted.command_digest,
            outcome=summary.outcome,
            code=AlreadyExecuted.code,
            key_id=summary.key_id,
            version=summary.version,
            registry_revision=summary.registry_revision,
        )
        return self._outbound(admitted.command.data.reply, admitted.command.subject.encode(), data)

    def _outbound(self, address: ReplyAddress, record_key: bytes, data: ReplyData) -> Outbound | None:
        if not reply_topic_allowed(address.topic):
            return None
        value = Reply.new("policy", data).to_value()
        headers = (
            (SIGNER_HEADER, self.signer.fingerprint.encode()),
            (SIGNATURE_HEADER, self.signer.sign(reply_message(self.deployment, record_key, value))),
            (CORRELATION_HEADER, address.correlation_id.encode()),
        )
        return Outbound(address.topic, address.partition, record_key, value, headers)
