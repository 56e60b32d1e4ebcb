-- Indexes of the audit trail, each for a question that auditors ask. Months that are attached later get the same.
CREATE INDEX IF NOT EXISTS audit_time ON audit (time, partition, position);
CREATE INDEX IF NOT EXISTS audit_key ON audit (key_id, time) WHERE key_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_principal ON audit (principal, time) WHERE principal IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_command ON audit (command_id) WHERE command_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_grant ON audit (grant_id, time) WHERE grant_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_proposal ON audit (proposal_id, time) WHERE proposal_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_code ON audit (code, time) WHERE code IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_denied ON audit (time, partition, position) WHERE outcome = 'denied';
CREATE INDEX IF NOT EXISTS audit_administrative ON audit (time, partition, position) WHERE administrative;
CREATE INDEX IF NOT EXISTS audit_contexts ON audit USING gin (contexts jsonb_path_ops) WHERE contexts IS NOT NULL;
CREATE INDEX IF NOT EXISTS usage_key ON usage (keyfold.key_of(stream), version);
CREATE INDEX IF NOT EXISTS usage_principal ON usage (principal);
