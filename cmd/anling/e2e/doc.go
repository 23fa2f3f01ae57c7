// Package e2e tests the built program through its own doors: real device frames,
// real SIP calls, real HTTP, kill -9, a full disk, servers that are away. It holds
// tests only.
package e2e
