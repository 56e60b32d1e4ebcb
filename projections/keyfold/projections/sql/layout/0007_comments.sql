-- Comments in words on what readers see. `views.sql` gives the views of the schema `keyfold` the same.

COMMENT ON TABLE keys IS 'Keys, as they are now.';
COMMENT ON TABLE key_versions IS 'Versions of keys, and what was done to each.';
COMMENT ON TABLE key_materials IS 'The HSM worker''s evidence of each version''s material.';
COMMENT ON VIEW key_states IS 'The state of each key, from what was decided and from the time.';
COMMENT ON TABLE aliases IS 'Names of keys.';
COMMENT ON TABLE principals IS 'Who may send commands.';
COMMENT ON TABLE signing_keys IS 'The keys that principals sign commands with.';
COMMENT ON TABLE issuers IS 'Issuers of tokens for workloads.';
COMMENT ON TABLE policies IS 'Cedar policies of the registry and of keys.';
COMMENT ON TABLE limits IS 'Rate limits and quotas.';
COMMENT ON TABLE buckets IS 'How full each limit is, once for each partition that charges it.';
COMMENT ON TABLE grants IS 'Grants, and how much of each is used.';
COMMENT ON TABLE proposals IS 'Proposed commands, who approved them, and what became of them.';
COMMENT ON TABLE handled_incidents IS 'Incidents that somebody acknowledged or closed; all are in keyfold_alerts.';
COMMENT ON TABLE suppressions IS 'Which findings open no incident, and until when.';
COMMENT ON TABLE sealing_keys IS 'Keys that bodies of commands are sealed to.';
COMMENT ON TABLE deployment IS 'What genesis fixed, and revisions of the registry.';
COMMENT ON TABLE capabilities IS 'What kinds of keys can be made here.';
COMMENT ON TABLE storage_epochs IS 'Storage epochs, and the evidence of their end.';
COMMENT ON TABLE storage_epoch_turns IS 'Which partition has turned to which storage epoch.';
COMMENT ON TABLE certificates IS 'Service keys that root certified.';
COMMENT ON TABLE revocations IS 'Service keys that root revoked.';
COMMENT ON TABLE usage IS 'Exact use by stream, key version, principal and verb.';
COMMENT ON TABLE audit IS 'The audit trail: one row for each authentic event of the log, partitioned by month.';
COMMENT ON TABLE offsets IS 'How far each partition of the log is folded.';
COMMENT ON TABLE reports IS 'Records of the log that were not believed.';
COMMENT ON TABLE directory IS 'What the directory topic must hold.';
COMMENT ON VIEW key_uses IS
    'One row for each command that policy let use a key, and the outcome that the HSM worker gave it.';
COMMENT ON VIEW key_users IS 'Who was let use a key, since when, and with which encryption context.';
COMMENT ON VIEW principal_actions IS 'What each principal did or was refused, and the outcomes of it.';
COMMENT ON VIEW denials IS 'Every command that policy denied.';
COMMENT ON VIEW administrator_actions IS
    'Every decision about keys'' lives, the registry, policies, limits, grants and proposals, and every ceremony of root.';
COMMENT ON VIEW last_uses IS 'When each key version was used last, and by whom.';
COMMENT ON VIEW key_usage IS 'Exact numbers of uses by key, key version, principal and verb.';
COMMENT ON VIEW key_rotations IS
    'How old the current version of each key is; keys that are destroyed or never had material are left out.';

-- Columns of the audit trail; in the views that are made of it they mean the same.
COMMENT ON COLUMN audit.partition IS 'Partition of the log.';
COMMENT ON COLUMN audit.position IS 'Number of authentic events before it in the partition.';
COMMENT ON COLUMN audit.kafka_offset IS 'Offset on the topic; a hint, since a restored topic has others.';
COMMENT ON COLUMN audit.event_id IS 'CloudEvents id.';
COMMENT ON COLUMN audit.event_type IS 'CloudEvents type, like keyfold.key.rotated.v1.';
COMMENT ON COLUMN audit.time IS 'The broker''s time of the decision that it belongs to.';
COMMENT ON COLUMN audit.stream IS 'What it is about: a key, a principal, the registry, or a partition.';
COMMENT ON COLUMN audit.outcome IS 'authorized, denied, dry-run (policy); completed, failed (HSM worker); recorded (no command).';
COMMENT ON COLUMN audit.code IS 'Why it was refused or failed.';
COMMENT ON COLUMN audit.principal IS 'Who asked; of a carried out proposal, who proposed.';
COMMENT ON COLUMN audit.verb IS 'What was asked, in words of AWS KMS.';
COMMENT ON COLUMN audit.key_id IS 'The key that it is about.';
COMMENT ON COLUMN audit.key_version IS 'The key version, where there is one only.';
COMMENT ON COLUMN audit.contexts IS 'Distinct encryption contexts of the command, a list of objects.';
COMMENT ON COLUMN audit.items IS 'Number of items.';
COMMENT ON COLUMN audit.payload_bytes IS 'Bytes of all items together.';
COMMENT ON COLUMN audit.policies IS 'Policies that determined the decision.';
COMMENT ON COLUMN audit.registry_revision IS 'Revision of the registry that it was decided at.';
COMMENT ON COLUMN audit.command_id IS 'The command''s id.';
COMMENT ON COLUMN audit.command_digest IS 'SHA-256 of the command''s exact bytes, hexadecimal.';
COMMENT ON COLUMN audit.command_offset IS 'The command''s offset on keyfold.commands.';
COMMENT ON COLUMN audit.value IS 'The exact bytes that were signed.';
COMMENT ON COLUMN audit.role IS 'The service that wrote it.';
COMMENT ON COLUMN audit.signer IS 'SHA-256 of the public key that signed it, hexadecimal.';
COMMENT ON COLUMN audit.statement_n IS 'Number of the signed statement that covers it, in its role''s chain.';
COMMENT ON COLUMN audit.statement_leaf IS 'Index in that statement.';
COMMENT ON COLUMN audit.reason IS 'The caller''s word for why.';
COMMENT ON COLUMN audit.source IS 'The host or workload instance that the caller names.';
COMMENT ON COLUMN audit.dry_run IS 'Nothing was to be executed.';
COMMENT ON COLUMN audit.grant_id IS 'The grant that it is about or that covered it.';
COMMENT ON COLUMN audit.proposal_id IS 'The proposal that it is about or carries out.';
COMMENT ON COLUMN audit.algorithm IS 'The algorithm by which it uses a key.';
COMMENT ON COLUMN audit.administrative IS 'A decision about anything but the use of keys, or an act of root.';

DO $$
DECLARE said record;
BEGIN
    FOR said IN
        SELECT v.relname AS view, a.attname AS name, col_description('audit'::regclass, t.attnum) AS words
        FROM pg_class v JOIN pg_attribute a ON a.attrelid = v.oid
        JOIN pg_attribute t ON t.attrelid = 'audit'::regclass AND t.attname = a.attname AND t.attnum > 0
        WHERE v.relnamespace = current_schema()::regnamespace
          AND v.relname IN ('key_uses', 'key_users', 'principal_actions', 'denials', 'administrator_actions')
    LOOP
        EXECUTE format('COMMENT ON COLUMN %I.%I IS %L', said.view, said.name, said.words);
    END LOOP;
END
$$;

-- What means something else there, or stands there only.
COMMENT ON COLUMN key_uses.time IS 'When policy decided.';
COMMENT ON COLUMN key_uses.outcome IS 'completed or failed; null while the HSM worker has not answered.';
COMMENT ON COLUMN key_uses.code IS 'Why it failed, wholly or in part.';
COMMENT ON COLUMN key_uses.key_version IS 'The version that served all items; null where several did.';
COMMENT ON COLUMN key_uses.items IS 'Number of items that were asked for.';
COMMENT ON COLUMN key_users.context IS 'One encryption context; {} is the empty one.';
COMMENT ON COLUMN key_users.first_used_at IS 'When policy let it happen first.';
COMMENT ON COLUMN key_users.last_used_at IS 'When policy let it happen last.';
COMMENT ON COLUMN key_users.commands IS 'Number of commands that named this context.';
COMMENT ON COLUMN administrator_actions.author IS
    'Who signed the command: where an approval carries a proposal out, who approved.';
COMMENT ON COLUMN administrator_actions.arguments IS 'The command''s arguments, as they were signed.';
COMMENT ON COLUMN last_uses.last_used_at IS 'When an item was served last.';
COMMENT ON COLUMN last_uses.principal IS 'Who used it then.';
COMMENT ON COLUMN last_uses.verb IS 'For what.';
COMMENT ON COLUMN last_uses.items IS 'Number of items that the version ever served.';
COMMENT ON COLUMN last_uses.version IS 'The key version; 0 counts what no single version served.';
COMMENT ON COLUMN key_usage.key_id IS 'The key; null for other streams.';
COMMENT ON COLUMN key_usage.version IS
    'The key version; 0 counts commands, bytes and failures that no single version served.';
COMMENT ON COLUMN key_usage.commands IS 'Number of commands.';
COMMENT ON COLUMN key_usage.items IS 'Number of items served.';
COMMENT ON COLUMN key_usage.bytes IS 'Bytes of them.';
COMMENT ON COLUMN key_usage.failed_items IS 'Number of items that failed.';
COMMENT ON COLUMN key_usage.last_used_at IS 'When it was used last.';
COMMENT ON COLUMN key_rotations.state IS 'The state of the key, as of now.';
COMMENT ON COLUMN key_rotations.rotated_at IS 'When the current version was made.';
COMMENT ON COLUMN key_rotations.age_days IS 'Its age in whole days.';
COMMENT ON COLUMN key_rotations.period_days IS 'The rotation period, where one is set.';
COMMENT ON COLUMN usage.version IS
    'The key version; 0 counts commands, bytes and failures that no single version served.';
