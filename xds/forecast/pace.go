package forecast

import "math"

// series are the tokens of the complete buckets of a day, as running sums.
type series struct {
	sums   []float64 // sums[i] is over the buckets before i
	filled []int     // filled[i] is how many of them are busy: not empty
}

// newSeries takes in the first complete buckets of tokens.
func newSeries(tokens []int64, complete int) series {
	s := series{make([]float64, complete+1), make([]int, complete+1)}
	for i := range complete {
		s.sums[i+1], s.filled[i+1] = s.sums[i], s.filled[i]
		if i < len(tokens) && tokens[i] > 0 {
			s.sums[i+1] += float64(tokens[i])
			s.filled[i+1]++
		}
	}
	return s
}

func (s series) len() int { return len(s.sums) - 1 }

// between is the sum of the buckets from one to before another.
func (s series) between(from, to int) float64 { return s.sums[to] - s.sums[from] }

// busy is how many of them are busy. They may begin before the day.
func (s series) busy(from, to int) int { return s.filled[to] - s.filled[max(from, 0)] }

// first is the first busy bucket; the length if there is none.
func (s series) first() int {
	for i, n := range s.filled {
		if n > 0 {
			return i - 1
		}
	}
	return s.len()
}

// step is by how many buckets a window grows: by quarters of an hour, in which calls that come in clusters even out.
const step = 3

// noise is the index of dispersion of the quarters of an hour, variance by mean, in tokens: where calls come by chance,
// about the size of a call. It is taken from the differences between neighbours (von Neumann), as a slow change of the
// demand is no noise.
func (s series) noise() float64 {
	sum, n := 0.0, 0
	for at := s.len() - step; at-step >= s.first(); at -= step {
		before, after := s.between(at-step, at), s.between(at, at+step)
		if both := before + after; both > 0 {
			sum += (before - after) * (before - after) / both
			n++
		}
	}
	return sum / math.Max(float64(n), 1)
}

// leastErrors is by how many standard errors the means of two parts of a window differ, if by more than chance: with so
// many looks at a day, three would be no rarity.
const leastErrors = 4.3

// sum is a sum over buckets from one to before another.
type sum func(from, to int) float64

// window is the first bucket of the longest recent window in which neither end, of a quarter of an hour or of a whole
// one, differs from the rest in tokens by exposure: an adaptive window after ADWIN (Bifet and Gavaldà 2007), grown
// backwards. first is how far back it may reach, end is where it ends.
func window(tokens, exposure sum, first, end int, noise float64) int {
	from := max(end-step, first)
	for from > first {
		next := max(from-step, first)
		for _, block := range [...]int{step, 4 * step} {
			if block >= end-next {
				break
			}
			if differ(tokens, exposure, next, next+block, end, noise) || differ(tokens, exposure, next, end-block, end, noise) {
				return from
			}
		}
		from = next
	}
	return from
}

// differ says whether the window is another after the cut than before it. Without exposure nothing is known.
func differ(tokens, exposure sum, from, cut, end int, noise float64) bool {
	before, after := exposure(from, cut), exposure(cut, end)
	if before <= 0 || after <= 0 {
		return false
	}
	mean := tokens(from, end) / (before + after)
	apart := math.Abs(tokens(from, cut)/before - tokens(cut, end)/after)
	return apart > leastErrors*math.Sqrt(noise*mean*(1/before+1/after))
}

// leastAlone is in how many busy buckets a key must have served all calls to be taken for the one that does.
const leastAlone = 4

// alone says whether the key has served all calls for a while: it took over from another one, whose part is history.
func alone(own, demand series) bool {
	end := demand.len()
	from := end
	for from > 0 && own.between(from-1, from) == demand.between(from-1, from) {
		from--
	}
	return own.busy(from, end) >= leastAlone
}

// shareOf is the share of the demand that a key takes now, 0…1.
func shareOf(own, demand series, noise float64) float64 {
	if alone(own, demand) {
		return 1
	}
	end := demand.len()
	from := window(own.between, demand.between, demand.first(), end, noise)
	all := demand.between(from, end)
	if all <= 0 {
		return 0
	}
	return math.Min(own.between(from, end)/all, 1)
}

// pace is how high a demand is by a shape.
type pace struct {
	demand series
	shape  *Shape
	from   int     // the bucket since which it has been so
	level  float64 // tokens by unit of the shape
}

// fit holds a demand against a shape.
func fit(demand series, shape *Shape, noise float64) pace {
	p := pace{demand: demand, shape: shape}
	p.from = window(demand.between, shape.between, demand.first(), demand.len(), noise)
	p.level = p.over(p.from)
	return p
}

// held is for how many buckets it has been so.
func (p pace) held() int { return p.demand.len() - p.from }

// over is the mean level since a bucket; 0 where the shape has nothing.
func (p pace) over(from int) float64 {
	exposure := p.shape.between(from, p.demand.len())
	if exposure <= 0 {
		return 0
	}
	return p.demand.between(from, p.demand.len()) / exposure
}

// likely says whether the day could be one of those that the shape is of: not over four times as busy, nor as idle.
func (p pace) likely() bool { return p.level >= 1.0/4 && p.level <= 4 }
