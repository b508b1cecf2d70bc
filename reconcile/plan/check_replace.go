package plan

import "fmt"

// partner tells whether a roll may have a step about another VM than its own: the green of a blue-green roll.
func (c *checker) partner(Roll, Step) bool { return false }

// replacement checks the steps that put one VM in the place of another, and those only a person asks for.
func (c *checker) replacement(_ VM, s Step) error {
	return fmt.Errorf("unknown kind of step %T: it may touch a disk (D1)", s)
}
