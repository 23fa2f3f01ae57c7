-- name: InsertIncident :execrows
INSERT INTO incident (id, no, status, open, elder_id, device_id, priority, opened_us, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: UpdateIncident :execrows
UPDATE incident SET status = $2, open = $3, elder_id = $4, device_id = $5, priority = $6, version = $7, doc = $8 WHERE id = $1 AND version = $9;

-- name: GetIncident :one
SELECT version, doc FROM incident WHERE id = $1;

-- name: OpenIncidents :many
SELECT version, doc FROM incident WHERE open = 1 ORDER BY priority, opened_us LIMIT $1;

-- name: CountOpenIncidents :one
SELECT COUNT(*) FROM incident WHERE open = 1;

-- name: OpenVersions :many
SELECT id, version FROM incident WHERE open = 1 ORDER BY priority, opened_us LIMIT $1;

-- name: OpenIncidentsByStatus :many
SELECT version, doc FROM incident WHERE open = 1 AND status = $1 ORDER BY opened_us DESC LIMIT $2;

-- name: IncidentsByStatus :many
SELECT version, doc FROM incident WHERE status = $1 ORDER BY opened_us DESC LIMIT $2;

-- name: RecentIncidents :many
SELECT version, doc FROM incident ORDER BY opened_us DESC LIMIT $1;

-- name: IncidentsOfElder :many
SELECT version, doc FROM incident WHERE elder_id = $1 AND elder_id <> '' ORDER BY opened_us DESC LIMIT $2;

-- name: UnwatchedIncidents :many
SELECT i.id FROM incident i WHERE i.open = 1
  AND NOT EXISTS (SELECT 1 FROM timer t WHERE t.agg_id = i.id AND t.state = 'armed')
  AND NOT EXISTS (SELECT 1 FROM task k WHERE k.incident_id = i.id AND k.open = 1)
ORDER BY i.opened_us LIMIT 1000;

-- name: TakeSubject :execrows
INSERT INTO incident_subject (subject, incident_id) VALUES ($1, $2) ON CONFLICT (subject) DO NOTHING;

-- name: GetSubject :one
SELECT incident_id FROM incident_subject WHERE subject = $1;

-- name: DropSubjects :exec
DELETE FROM incident_subject WHERE incident_id = $1;

-- name: NextCounter :one
INSERT INTO counter (name, value) VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET value = counter.value + 1 RETURNING value;

-- name: InsertTask :execrows
INSERT INTO task (id, kind, incident_id, open, created_us, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: UpdateTask :execrows
UPDATE task SET open = $2, version = $3, doc = $4 WHERE id = $1 AND version = $5;

-- name: GetTask :one
SELECT version, doc FROM task WHERE id = $1;

-- name: OpenTasks :many
SELECT version, doc FROM task WHERE open = 1 ORDER BY created_us LIMIT $1;

-- name: OpenTasksOfIncident :many
SELECT version, doc FROM task WHERE incident_id = $1 AND open = 1 ORDER BY created_us;

-- name: InsertAlarm :execrows
INSERT INTO alarm (id, device_id, incident_id, source_event_id, received_us, doc) VALUES ($1, $2, $3, $4, $5, $6);

-- name: AlarmsSince :many
SELECT pos, incident_id, doc FROM alarm WHERE pos > $1 ORDER BY pos LIMIT $2;

-- name: AlarmsOfIncident :many
SELECT pos, incident_id, doc FROM alarm WHERE incident_id = $1 ORDER BY pos LIMIT 200;

-- name: InsertAssignment :execrows
INSERT INTO assignment (id, for_kind, for_id, status, open, created_us, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: UpdateAssignment :execrows
UPDATE assignment SET status = $2, open = $3, version = $4, doc = $5 WHERE id = $1 AND version = $6;

-- name: GetAssignment :one
SELECT version, doc FROM assignment WHERE id = $1;

-- name: AssignmentsFor :many
SELECT version, doc FROM assignment WHERE for_kind = $1 AND for_id = $2 ORDER BY created_us LIMIT 100;

-- name: OpenAssignments :many
SELECT version, doc FROM assignment WHERE open = 1 ORDER BY created_us LIMIT $1;

-- name: InsertOffer :execrows
INSERT INTO offer (id, assignment_id, responder_id, status, open, sent_us, version, doc) VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: UpdateOffer :execrows
UPDATE offer SET status = $2, open = $3, version = $4, doc = $5 WHERE id = $1 AND version = $6;

-- name: GetOffer :one
SELECT version, doc FROM offer WHERE id = $1;

-- name: OffersOfAssignment :many
SELECT version, doc FROM offer WHERE assignment_id = $1 ORDER BY sent_us, id LIMIT 500;

-- name: OffersOfResponder :many
SELECT version, doc FROM offer WHERE responder_id = $1 ORDER BY sent_us DESC LIMIT $2;

-- name: ClaimResponder :execrows
INSERT INTO responder_claim (responder_id, assignment_id) VALUES ($1, $2) ON CONFLICT (responder_id) DO NOTHING;

-- name: GetClaim :one
SELECT assignment_id FROM responder_claim WHERE responder_id = $1;

-- name: ReleaseResponder :exec
DELETE FROM responder_claim WHERE responder_id = $1 AND assignment_id = $2;

-- name: Claims :many
SELECT responder_id, assignment_id FROM responder_claim;

-- Reading for a change takes the row's lock first, so that two changes of one
-- aggregate wait for each other instead of meeting half-way.

-- name: LockIncident :one
UPDATE incident SET open = open WHERE id = $1 RETURNING version, doc;

-- name: LockAssignment :one
UPDATE assignment SET open = open WHERE id = $1 RETURNING version, doc;

-- name: AlarmBySource :one
SELECT id, incident_id FROM alarm WHERE source_event_id = $1;
