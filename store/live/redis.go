package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// callTimeout bounds every call: live state that is slow is live state that is away.
const callTimeout = 500 * time.Millisecond

// RedisOptions say where Redis or Valkey is and whose keys are used.
type RedisOptions struct {
	Addrs    []string // one address, or the seeds of a cluster
	Username string
	Password string
	District string // hash tag of all keys: one district is one cluster slot
}

// Redis is live state shared by several nodes. It uses the command set of Redis
// 7.0, so Valkey serves as well. Nothing in it outlives FLUSHALL for longer than
// the next heartbeat.
type Redis struct {
	c   redis.UniversalClient
	tag string
}

var _ Store = (*Redis)(nil)

// NewRedis makes the client; it does not connect yet, so that the server starts
// while Redis is away.
func NewRedis(o RedisOptions) (*Redis, error) {
	if len(o.Addrs) == 0 {
		return nil, errors.New("live redis: no address")
	}
	if o.District == "" {
		return nil, errors.New("live redis: no district for the key tag")
	}
	c := redis.NewUniversalClient(&redis.UniversalOptions{
		Addrs: o.Addrs, Username: o.Username, Password: o.Password,
		DialTimeout: callTimeout, ReadTimeout: callTimeout, WriteTimeout: callTimeout,
		MaxRetries: 1, PoolSize: 16, PoolTimeout: callTimeout,
	})
	return &Redis{c: c, tag: "al:{" + o.District + "}:"}, nil
}

func (r *Redis) key(parts ...string) string {
	k := r.tag
	for i, p := range parts {
		if i > 0 {
			k += ":"
		}
		k += p
	}
	return k
}

// wrap makes every failure of the network ErrUnavailable, and keeps its text.
func wrap(what string, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return nil
	}
	return fmt.Errorf("%s: %w: %w", what, ErrUnavailable, err)
}

// putPosition stores a position unless a later one is known: value and time of the
// fix are two keys of one slot. KEYS: times, values.
// ARGV: id, time in µs, value, horizon in µs.
var putPosition = redis.NewScript(`
local old = redis.call('ZSCORE', KEYS[1], ARGV[1])
if old and tonumber(old) >= tonumber(ARGV[2]) then return 0 end
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
local stale = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[4], 'LIMIT', 0, 100)
for _, id in ipairs(stale) do
  redis.call('ZREM', KEYS[1], id); redis.call('HDEL', KEYS[2], id)
end
return 1`)

func (r *Redis) positionKeys(kind string) []string {
	return []string{r.key("posat", kind), r.key("posval", kind)}
}

// PutPosition implements Store.
func (r *Redis) PutPosition(ctx context.Context, kind, id string, p Position) error {
	value, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("position of %s %s: %w", kind, id, err)
	}
	err = putPosition.Run(ctx, r.c, r.positionKeys(kind), id, p.At.UnixMicro(), value,
		time.Now().Add(-PositionTTL).UnixMicro()).Err()
	return wrap("put position", err)
}

// Positions implements Store.
func (r *Redis) Positions(ctx context.Context, kind string) (map[string]Position, error) {
	all, err := r.c.HGetAll(ctx, r.positionKeys(kind)[1]).Result()
	if err != nil {
		return nil, wrap("read positions", err)
	}
	out := make(map[string]Position, len(all))
	for id, text := range all {
		var p Position
		if json.Unmarshal([]byte(text), &p) == nil && time.Since(p.At) <= PositionTTL {
			out[id] = p
		}
	}
	return out, nil
}

// SetPresence implements Store: a value per id with its TTL, and a set of ids per kind.
func (r *Redis) SetPresence(ctx context.Context, kind, id string, p Presence, ttl time.Duration) error {
	value, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("presence of %s %s: %w", kind, id, err)
	}
	_, err = r.c.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, r.key("pres", kind, id), value, ttl)
		pipe.SAdd(ctx, r.key("pres", kind), id)
		return nil
	})
	return wrap("set presence", err)
}

// Presences implements Store.
func (r *Redis) Presences(ctx context.Context, kind string) (map[string]Presence, error) {
	out := map[string]Presence{}
	ids, err := r.c.SMembers(ctx, r.key("pres", kind)).Result()
	if err != nil || len(ids) == 0 {
		return out, wrap("read presence", err)
	}
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = r.key("pres", kind, id)
	}
	values, err := r.c.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, wrap("read presence", err)
	}
	var gone []any
	for i, v := range values {
		text, ok := v.(string)
		var p Presence
		if !ok || json.Unmarshal([]byte(text), &p) != nil {
			gone = append(gone, ids[i])
			continue
		}
		out[ids[i]] = p
	}
	if len(gone) > 0 {
		err = r.c.SRem(ctx, r.key("pres", kind), gone...).Err()
	}
	return out, wrap("trim presence", err)
}

// Touch implements Store.
func (r *Redis) Touch(ctx context.Context, kind string, seen map[string]time.Time) error {
	if len(seen) == 0 {
		return nil
	}
	members := make([]redis.Z, 0, len(seen))
	for id, at := range seen {
		members = append(members, redis.Z{Score: float64(at.UnixMicro()), Member: id})
	}
	return wrap("touch", r.c.ZAddArgs(ctx, r.key("seen", kind), redis.ZAddArgs{GT: true, Members: members}).Err())
}

// LastSeen implements Store.
func (r *Redis) LastSeen(ctx context.Context, kind string, ids []string) (map[string]time.Time, error) {
	out := make(map[string]time.Time, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	scores, err := r.c.ZMScore(ctx, r.key("seen", kind), ids...).Result()
	if err != nil {
		return nil, wrap("last seen", err)
	}
	for i, s := range scores {
		if s > 0 {
			out[ids[i]] = time.UnixMicro(int64(s))
		}
	}
	return out, nil
}

// Ping implements Store.
func (r *Redis) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return wrap("ping", r.c.Ping(ctx).Err())
}

// Close implements Store.
func (r *Redis) Close() error {
	if err := r.c.Close(); err != nil {
		return fmt.Errorf("close live redis: %w", err)
	}
	return nil
}
