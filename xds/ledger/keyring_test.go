package ledger_test

import (
	"keywheel/xds/keyring"
	"keywheel/xds/ledger"
)

var _ keyring.Credentials = (*ledger.Ledger)(nil)
