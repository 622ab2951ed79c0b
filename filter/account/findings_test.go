package account_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keywheel/filter/account"
	"keywheel/filter/account/accounttest"
	"keywheel/shared/protocol"
)

func TestFindingsKeepTheLongerOfTwo(t *testing.T) {
	book := account.NewBook(&accounttest.Data{})
	f := account.Finding{Credential: "1.1", Org: "o", Model: "m", Kind: protocol.Cooling, UntilMS: 5000, AtMS: 1000}
	echo := f
	echo.UntilMS += 100
	longer := f
	longer.UntilMS = 9000
	gone := f
	gone.Org, gone.UntilMS = "p", 900
	book.Learn(1000, f, echo, gone)
	if d := cmp.Diff([]account.Finding{f}, book.Findings(1000)); d != "" {
		t.Error(d)
	}
	book.Learn(1000, longer, f)
	if d := cmp.Diff([]account.Finding{longer}, book.Findings(1000)); d != "" {
		t.Error(d)
	}
	sibling := f
	sibling.Credential = "2.1"
	book.Learn(1000, sibling)
	if d := cmp.Diff([]account.Finding{longer}, book.Findings(1000)); d != "" {
		t.Errorf("what another key of the organization learned is shorter: %s", d)
	}
	newer := f
	newer.Credential = "1.2"
	book.Learn(1000, newer)
	if d := cmp.Diff([]account.Finding{newer}, book.Findings(1000)); d != "" {
		t.Errorf("a newer revision knows better: %s", d)
	}
	if got := book.Findings(5000); len(got) != 0 {
		t.Errorf("in force after its end: %v", got)
	}
	for i := range 1000 {
		book.Learn(1, account.Finding{Org: fmt.Sprint(i), Kind: protocol.Cooling, UntilMS: int64(10 + i)})
	}
	if got := book.Findings(2); len(got) != 256 || got[0].UntilMS != 5000 || got[255].UntilMS != 755 {
		t.Errorf("%d findings kept", len(got))
	}
}
