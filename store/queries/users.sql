-- name: InsertAccount :execrows
INSERT INTO account (id, name, role, disabled, password, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: UpdateAccount :execrows
UPDATE account SET role = $2, disabled = $3, password = $4, version = $5, doc = $6 WHERE id = $1 AND version = $7;

-- name: GetAccount :one
SELECT password, doc FROM account WHERE id = $1;

-- name: GetAccountByName :one
SELECT password, doc FROM account WHERE name = $1;

-- name: ListAccounts :many
SELECT password, doc FROM account ORDER BY name LIMIT $1;

-- name: InsertSession :exec
INSERT INTO session (hash, account_id, created_us, seen_us, expires_us) VALUES ($1, $2, $3, $4, $5);

-- name: GetSession :one
SELECT s.account_id, s.created_us, s.seen_us, s.expires_us, a.doc FROM session s JOIN account a ON a.id = s.account_id
WHERE s.hash = $1 AND a.disabled = 0;

-- name: TouchSession :exec
UPDATE session SET seen_us = $2, expires_us = $3 WHERE hash = $1 AND seen_us < $2;

-- name: DeleteSession :exec
DELETE FROM session WHERE hash = $1;

-- name: DeleteSessionsOf :exec
DELETE FROM session WHERE account_id = $1;

-- name: DeleteExpiredSessions :execrows
DELETE FROM session WHERE expires_us < $1;

-- name: PutSIPAccount :execrows
INSERT INTO sip_account (account, account_id) VALUES ($1, $2) ON CONFLICT (account) DO UPDATE SET account_id = excluded.account_id
WHERE sip_account.account_id = excluded.account_id;

-- name: DropSIPAccountsOf :exec
DELETE FROM sip_account WHERE account_id = $1 AND account <> $2;

-- name: PutSIPDigest :exec
INSERT INTO sip_ha1 (account, realm, algorithm, ha1) VALUES ($1, $2, $3, $4)
ON CONFLICT (account, realm, algorithm) DO UPDATE SET ha1 = excluded.ha1;

-- name: DropSIPDigests :exec
DELETE FROM sip_ha1 WHERE account = $1;

-- name: GetSIPDigest :one
SELECT h.ha1 FROM sip_ha1 h JOIN sip_account s ON s.account = h.account JOIN account a ON a.id = s.account_id
WHERE h.account = $1 AND h.realm = $2 AND h.algorithm = $3 AND a.disabled = 0;

-- name: PutBinding :exec
INSERT INTO sip_binding (account, contact, expires_us, doc) VALUES ($1, $2, $3, $4)
ON CONFLICT (account, contact) DO UPDATE SET expires_us = excluded.expires_us, doc = excluded.doc;

-- name: DropBinding :exec
DELETE FROM sip_binding WHERE account = $1 AND contact = $2;

-- name: DropExpiredBindings :exec
DELETE FROM sip_binding WHERE expires_us < $1;

-- name: Bindings :many
SELECT doc FROM sip_binding WHERE expires_us >= $1 ORDER BY account, contact LIMIT 10000;

-- name: AdvanceAudit :one
UPDATE audit_head SET pos = pos + 1 WHERE id = 1 RETURNING pos, hash;

-- name: SetAuditHead :exec
UPDATE audit_head SET hash = $1 WHERE id = 1;

-- name: GetAuditHead :one
SELECT pos, hash FROM audit_head WHERE id = 1;

-- name: InsertAudit :exec
INSERT INTO audit (pos, at_us, actor, action, object, detail, hash) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: AuditFrom :many
SELECT pos, at_us, actor, action, object, detail, hash FROM audit WHERE pos > $1 ORDER BY pos LIMIT $2;

-- name: AuditLatest :many
SELECT pos, at_us, actor, action, object, detail, hash FROM audit WHERE pos < $1 ORDER BY pos DESC LIMIT $2;
