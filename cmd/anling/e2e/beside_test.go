package e2e

import "testing"

// Most of these tests wait for clocks of the server, so they run beside each other.
// Those that keep a core busy (a browser, a load of alarms, abuse) do so two at a
// time: on two cores no telephone may ring in vain for want of a processor.
var (
	waiting = make(chan struct{}, 6)
	working = make(chan struct{}, 2)
)

// beside lets the test run beside others of the package as soon as there is a place
// among its kind, waiting or working.
func beside(t *testing.T, kind chan struct{}) {
	t.Helper()
	t.Parallel()
	kind <- struct{}{}
	t.Cleanup(func() { <-kind })
}
