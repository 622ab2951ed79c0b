package harness

// Attach is a Keywheel that somebody else started: what asks its admin API works, what
// starts and stops a process does not.
func Attach(admin, listen, token string) *Keywheel {
	return &Keywheel{Admin: admin, Listen: listen, env: map[string]string{"KEYWHEEL_ADMIN_TOKEN": token}}
}
