-- name: LockElder :one
UPDATE elder SET version = version WHERE id = $1 RETURNING status, area_code, updated_us, version, digest, brief;

-- name: GetElderFile :one
SELECT sealed, doc FROM elder_file WHERE elder_id = $1;

-- name: InsertElder :execrows
INSERT INTO elder (id, status, area_code, updated_us, version, digest, brief) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: UpdateElder :execrows
UPDATE elder SET status = $2, area_code = $3, updated_us = $4, version = $5, digest = $6, brief = $7 WHERE id = $1 AND version = $8;

-- name: SaveElderFile :exec
INSERT INTO elder_file (elder_id, sealed, doc) VALUES ($1, $2, $3) ON CONFLICT (elder_id) DO UPDATE SET sealed = excluded.sealed, doc = excluded.doc;

-- name: CountElders :one
SELECT count(*) FROM elder;

-- name: CountAnyIdent :one
SELECT count(*) FROM (SELECT 1 FROM elder_ident LIMIT 1) AS held;

-- name: TakeIdent :one
INSERT INTO elder_ident (ident, elder_id) VALUES ($1, $2) ON CONFLICT (ident) DO UPDATE SET elder_id = elder_ident.elder_id RETURNING elder_id;

-- name: HasElder :one
SELECT count(*) FROM elder WHERE id = $1;

-- name: MoveIdent :exec
UPDATE elder_ident SET elder_id = $2 WHERE ident = $1;

-- name: IdentOwner :one
SELECT i.elder_id FROM elder_ident i JOIN elder e ON e.id = i.elder_id WHERE i.ident = $1;

-- name: DeleteIdent :exec
DELETE FROM elder_ident WHERE ident = $1 AND elder_id = $2;

-- name: InsertPerson :exec
INSERT INTO elder_person (name, birth_date, area_code, elder_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING;

-- name: DeletePerson :exec
DELETE FROM elder_person WHERE name = $1 AND birth_date = $2 AND area_code = $3 AND elder_id = $4;

-- name: InsertElderPhone :exec
INSERT INTO elder_phone (reversed, elder_id, contact) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: DeleteElderPhone :exec
DELETE FROM elder_phone WHERE reversed = $1 AND elder_id = $2 AND contact = $3;

-- name: InsertNameToken :exec
INSERT INTO name_token (token, name) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: FindNames :many
SELECT p.elder_id FROM name_token t JOIN elder_person p ON p.name = t.name WHERE t.token >= $1 AND t.token < $2 ORDER BY t.token, t.name, p.birth_date, p.area_code, p.elder_id LIMIT $3;

-- name: FindPhones :many
SELECT reversed, elder_id, contact FROM elder_phone WHERE reversed >= $1 AND reversed < $2 ORDER BY reversed, elder_id, contact LIMIT $3;

-- name: InsertDevice :execrows
INSERT INTO device (id, protocol, external_id, reversed, sim_number, elder_id, kind, state, class, version, doc)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: UpdateDevice :execrows
UPDATE device SET protocol = $2, external_id = $3, reversed = $4, sim_number = $5, elder_id = $6, kind = $7, state = $8, class = $9, version = $10, doc = $11
WHERE id = $1 AND version = $12;

-- name: LockDevice :one
UPDATE device SET version = version WHERE id = $1 RETURNING doc;

-- name: InsertProvider :execrows
INSERT INTO provider (id, external_key, name, state, version, doc) VALUES ($1, $2, $3, $4, $5, $6);

-- name: UpdateProvider :execrows
UPDATE provider SET external_key = $2, name = $3, state = $4, version = $5, doc = $6 WHERE id = $1 AND version = $7;

-- name: LockProvider :one
UPDATE provider SET version = version WHERE id = $1 RETURNING doc;

-- name: GetProvider :one
SELECT doc FROM provider WHERE id = $1;

-- name: GetProviderByKey :one
SELECT doc FROM provider WHERE external_key = $1 AND external_key <> '';

-- name: ListProviders :many
SELECT doc FROM provider ORDER BY name, id;

-- name: InsertResponder :execrows
INSERT INTO responder (id, external_key, provider_id, user_id, name, duty, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: UpdateResponder :execrows
UPDATE responder SET external_key = $2, provider_id = $3, user_id = $4, name = $5, duty = $6, version = $7, doc = $8 WHERE id = $1 AND version = $9;

-- name: LockResponder :one
UPDATE responder SET version = version WHERE id = $1 RETURNING doc;

-- name: GetResponder :one
SELECT doc FROM responder WHERE id = $1;

-- name: GetResponderByKey :one
SELECT doc FROM responder WHERE external_key = $1 AND external_key <> '';

-- name: GetResponderByUser :one
SELECT doc FROM responder WHERE user_id = $1 AND user_id <> '';

-- name: ListResponders :many
SELECT doc FROM responder ORDER BY name, id;

-- name: InsertResponderPhone :exec
INSERT INTO responder_phone (phone, responder_id) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: DeleteResponderPhone :exec
DELETE FROM responder_phone WHERE phone = $1 AND responder_id = $2;

-- name: RespondersByPhone :many
SELECT r.doc FROM responder_phone p JOIN responder r ON r.id = p.responder_id WHERE p.phone = $1 ORDER BY r.id LIMIT 20;

-- name: SaveArea :exec
INSERT INTO area (code, level, name, parent, doc) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (code) DO UPDATE SET level = excluded.level, name = excluded.name, parent = excluded.parent, doc = excluded.doc;

-- name: ListAreas :many
SELECT doc FROM area ORDER BY code;

-- name: KeepMeta :exec
INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING;
