package event

import "context"

type behindKey struct{}

// Behind marks work that follows by itself from what is durable already: first offers,
// rungs of a ladder, the record of a call that is awaited. The store lets what somebody
// waits for go first; such work is slower under load and never lost, for a deadline
// stands for it.
func Behind(ctx context.Context) context.Context {
	return context.WithValue(ctx, behindKey{}, true)
}

// IsBehind tells whether the work of a context was marked by Behind.
func IsBehind(ctx context.Context) bool {
	behind, _ := ctx.Value(behindKey{}).(bool)
	return behind
}
