/**
 * The random numbers of a seed, the same ones that PyTorch's generator on the CPU gives.
 *
 * Sources: Matsumoto & Nishimura 1998, "Mersenne twister"; Moshier, Cephes Mathematical Library, `ndtri`.
 */

/** Numbers of 32 bits that the twister makes at a time. */
const N = 624;
const M = 397;

/** The stream of random numbers of a seed: mt19937, started by `init_genrand`. */
export class Stream {
  /** @param {number} seed  a whole number below 2³² */
  constructor(seed) {
    const state = new Uint32Array(N);
    state[0] = seed;
    for (let i = 1; i < N; i++) {
      const last = state[i - 1] ^ (state[i - 1] >>> 30);
      state[i] = Math.imul(1812433253, last) + i;
    }
    this.state = state;
    this.at = N;
  }

  /** Make the next `N` numbers. */
  refill() {
    const { state } = this;
    for (let i = 0; i < N; i++) {
      const bits = (state[i] & 0x80000000) | (state[(i + 1) % N] & 0x7fffffff);
      state[i] = state[(i + M) % N] ^ (bits >>> 1) ^ (bits & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }

  /** The next whole number below 2³². */
  next() {
    if (this.at === N) this.refill();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** The next number in [0, 1), a multiple of 2⁻⁵³: two whole numbers make one, the higher bits come first. */
  uniform() {
    const high = this.next() & 0x1fffff;
    return (high * 2 ** 32 + this.next()) * 2 ** -53;
  }

  /** @param {number} n  numbers in [0, 1) to leave out */
  skip(n) {
    let left = 2 * n;
    while (left > N - this.at) {
      left -= N - this.at;
      this.refill();
    }
    this.at += left;
  }
}

/** Coefficients for |u − ½| ≤ ⅜, the highest power first, as in all tables below. */
const P0 = [
  -5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1, 1.39312609387279679503e1,
  -1.23916583867381258016e0,
];
const Q0 = [
  1, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1, -2.25462687854119370527e2,
  2.00260212380060660359e2, -8.20372256168333339912e1, 1.59056225126211695515e1, -1.18331621121330003142e0,
];
/** For √(−2 log u) from 2 to 8. */
const P1 = [
  4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1, 4.408050738932008347e1,
  1.46849561928858024014e1, 2.18663306850790267539e0, -1.40256079171354495875e-1, -3.50424626827848203418e-2,
  -8.57456785154685413611e-4,
];
const Q1 = [
  1, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1, 1.50425385692907503408e1,
  2.50464946208309415979e0, -1.42182922854787788574e-1, -3.80806407691578277194e-2, -9.33259480895457427372e-4,
];
/** For √(−2 log u) of 8 and more. */
const P2 = [
  3.23774891776946035970e0, 6.91522889068984211695e0, 3.93881025292474443415e0, 1.33303460815807542389e0,
  2.01485389549179081538e-1, 1.23716634817820021358e-2, 3.01581553508235416007e-4, 2.65806974686737550832e-6,
  6.23974539184983293730e-9,
];
const Q2 = [
  1, 6.02427039364742014255e0, 3.67983563856160859403e0, 1.37702099489081330271e0, 2.16236993594496635890e-1,
  1.34204006088543189037e-2, 3.28014464682127739104e-4, 2.89247864745380683936e-6, 6.79019408009981274425e-9,
];
const ROOT_OF_2_PI = 2.50662827463100050242;
/** e⁻², where the middle ends and a tail begins. */
const TAIL = 0.13533528323661269189;

/** @param {number} x @param {number[]} coefficients  the highest power first */
function polynomial(x, coefficients) {
  let sum = 0;
  for (const coefficient of coefficients) sum = sum * x + coefficient;
  return sum;
}

/**
 * The quantile function of the standard normal distribution: the number below which a share `u` of them lies.
 *
 * @param {number} u  in [0, 1); 0 counts as 2⁻⁵⁴, which keeps the result finite
 */
export function toNormal(u) {
  const share = Math.max(u, 2 ** -54);
  if (share <= TAIL) return -tail(share);
  if (share > 1 - TAIL) return tail(1 - share);
  const y = share - 0.5;
  const square = y * y;
  return (y + y * ((square * polynomial(square, P0)) / polynomial(square, Q0))) * ROOT_OF_2_PI;
}

/** How far from 0 the tail with a share `u` of the distribution begins. @param {number} u */
function tail(u) {
  const x = Math.sqrt(-2 * Math.log(u));
  const z = 1 / x;
  const [p, q] = x < 8 ? [P1, Q1] : [P2, Q2];
  return x - Math.log(x) / x - (z * polynomial(z, p)) / polynomial(z, q);
}
