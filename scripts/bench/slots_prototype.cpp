// What the hint's product costs with slots instead of tiles: H s for the secrets s of many vectors, exact modulo t.
// See docs/decisions/0005-tiles-and-one-value-a-word.md. A measurement: its keys are fixed and nothing is forgotten.
// Needs AVX-512 with IFMA. Build and run:
//
//   cmake -S fedbank/native -B BUILD -DFEDBANK_PYTHON=OFF && cmake --build BUILD
//   g++ -std=gnu++20 -O3 -march=native -ffp-contract=off -Wno-psabi -Wno-ignored-attributes -I fedbank/native
//       scripts/bench/slots_prototype.cpp BUILD/libcore.a -pthread -o BUILD/slots
//   BUILD/slots 16-bit|8-bit [BABIES GIANTS CIPHERTEXTS]    otherwise 86 8 8: one tree of depth 5
//
// Layout: the ring Z[X] / (X^8192 + 1) modulo t has a slot for every odd e modulo 16384, the value at psi^e. Entry j of
// vector v = 2 r + u stands at e = (-1)^r 3^(2 j + u), so X -> X^(9^k) turns all four vectors of a ciphertext by k.
// There are 683 diagonals, three slots for a row of H: slot j = r + 683 i of diagonal k holds -H[r, (j + k) mod 2048].
// The sum over k of diagonal k times s turned by k has in slots r, r + 683 and r + 1366 three parts of -(H s)[r], which
// the receivers add up; every slot has its own mask. A turn is a baby step, all of them from one decomposition, and a
// giant step after the products; both stay modulo Q P until the end (Bossuat et al., EUROCRYPT 2021).
#include <malloc.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lanes.hpp"
#include "ring.hpp"
#include "sampler.hpp"
#if !defined(__AVX512IFMA__)
#error "This prototype measures AVX-512 with IFMA only."
#endif

using namespace fedbank;
using u64 = std::uint64_t;
using u128 = unsigned __int128;
using Poly = std::vector<Residues>;  // by prime
using Slots = std::vector<u64>;

constexpr std::size_t D = 8192, N = 2048, rows = 660, parts = 3, turns = 683, blocks = D / 8;
constexpr double sigma = 3.2, tail = 9.42;

double cpu_seconds() {
    timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::map<std::string, double> spent;
struct Timed {  // CPU seconds of a scope, added to a name
    explicit Timed(const char* name) : name(name) {}
    ~Timed() { spent[name] += cpu_seconds() - begin; }
    const char* name;
    double begin = cpu_seconds();
};

// Where the transform puts the value at psi^e, and the slots' order.
struct Places {
    std::vector<std::uint16_t> at = std::vector<std::uint16_t>(D);  // by e / 2
    std::vector<std::size_t> exponent = std::vector<std::size_t>(D);
    explicit Places(const Ring& ring) {
        std::map<u64, std::size_t> place;
        Residues x(D, 0.0);
        Slots value(D);
        x[1] = 1;
        ring.forward(x.data());
        ring.canonical(value.data(), x.data(), D);
        for (std::size_t i = 0; i < D; ++i) place[value[i]] = i;
        u64 psi = value[0], power = psi, square = u64(u128(psi) * psi % ring.p());
        for (std::size_t e = 1; e < 2 * D; e += 2, power = u64(u128(power) * square % ring.p()))
            at[e / 2] = static_cast<std::uint16_t>(place.at(power)), exponent[place[power]] = e;
    }
    static std::size_t turn(std::size_t k) { return power_modulo(9, k, 2 * D); }
    std::size_t slot(std::size_t v, std::size_t j) const {
        std::size_t e = power_modulo(3, 2 * j + v % 2, 2 * D);
        return at[(v < 2 ? e : 2 * D - e) / 2];
    }
    // out[i] = in[permutation[i]] is X -> X^g; blocks of eight come from blocks of eight.
    std::vector<std::uint16_t> permutation(std::size_t g) const {
        std::vector<std::uint16_t> from(D);
        for (std::size_t i = 0; i < D; ++i) from[i] = at[exponent[i] * g % (2 * D) / 2];
        return from;
    }
};

struct Modulus {
    Real p, over, step;  // step = 2^52
    explicit Modulus(const Ring& ring)
        : p(real(double(ring.p()))), over(real(1 / double(ring.p()))), step(real(ring.residue(u64(1) << 52))) {}
    Real tamed(Real x) const { return tame(x, p, over); }
    Real times(Real x, Real y) const { return product_modulo(x, y, y * over, p); }
};

inline Word canonical_block(const Modulus& m, Real x) {
    Real near = m.tamed(x);
    return __builtin_convertvector(near < real(0.0) ? near + m.p : near, Word);
}

// Sums of products of 52-bit numbers, eight at once.
struct Sum {
    Word low{}, high{};
    void add(Word x, Word y) {
        low = (Word)_mm512_madd52lo_epu64((__m512i)low, (__m512i)x, (__m512i)y);
        high = (Word)_mm512_madd52hi_epu64((__m512i)high, (__m512i)x, (__m512i)y);
    }
    Real reduced(const Modulus& m) const {
        Word carried = high + (low >> 52), rest = low & ((u64(1) << 52) - 1);
        Real up = m.times(m.tamed(__builtin_convertvector(carried, Real)), m.step);
        return m.tamed(up + m.tamed(__builtin_convertvector(rest, Real)));
    }
};

// x = (x - y) factor
void subtract_scale(double* x, const double* y, double factor, const Ring& ring) {
    Modulus m(ring);
    for (std::size_t i = 0; i < D; i += 8)
        store(x + i, m.tamed(m.times(m.tamed(load<Real>(x + i) - (y ? load<Real>(y + i) : Real{})), real(factor))));
}

// Plaintext prime, primes of Q, key-switching prime P: the largest ones = 1 modulo 16384 below a power of two.
struct Primes {
    u64 t;
    std::vector<u64> q;
    u64 special;
};
const std::map<std::string, Primes> settings = {
    {"16-bit", {35184371613697u, {2199023190017u, 2199022927873u, 2199022354433u, 2199022043137u}, 17592186028033u}},
    {"8-bit", {34359410689u, {562949952847873u, 562949952798721u, 562949952700417u}, 562949952274433u}},
};

struct Setting {
    std::vector<std::shared_ptr<const Ring>> rings;  // of Q, then P
    std::shared_ptr<const Ring> t;
    std::size_t L, babies, giants;
    std::vector<double> special, special_inverse, minus_t_inverse;
    double log2_Q = 0, rms, Q_mod_t;
    unsigned response_bits, flood_bits;
    Places places;

    Setting(const Primes& primes, std::size_t babies, std::size_t giants)
        : t(ring(primes.t, D)), L(primes.q.size()), babies(babies), giants(giants), places(*t) {
        for (u64 q : primes.q) rings.push_back(ring(q, D)), log2_Q += std::log2(double(q));
        rings.push_back(ring(primes.special, D));
        u64 product = 1;
        for (std::size_t j = 0; j < L; ++j) {
            u64 q = rings[j]->p(), P = rings[L]->p() % q;
            special.push_back(rings[j]->residue(P));
            special_inverse.push_back(rings[j]->residue(inverse_modulo(P, q)));
            minus_t_inverse.push_back(-rings[j]->residue(inverse_modulo(t->p() % q, q)));
            product = u64(u128(product) * (q % t->p()) % t->p());
        }
        Q_mod_t = t->residue(product);
        double log2_t = std::log2(double(t->p())), ratio = double(primes.q[0]) / double(primes.special);
        double baby = sigma * sigma + 1 / 12. + ratio * ratio / 12 * sigma * sigma * D * double(L);
        rms = std::sqrt(std::exp2(2 * log2_t) / 12 * turns * D * baby + sigma * sigma * (4 * D / 3. + 1));
        flood_bits = static_cast<unsigned>(std::ceil(56 + std::log2(rms * std::sqrt(3))));
        response_bits = 8 * static_cast<unsigned>(std::ceil((log2_t + 9) / 8));
        double opening = (std::exp2(flood_bits + 1) + tail * rms) * std::exp2(log2_t - log2_Q) +
                         (1.5 + tail * std::sqrt(D / 18.)) * std::exp2(log2_t - response_bits);
        std::printf("log2 t %.2f, Q %.2f, Q P %.2f; flood bits %u, response bits %u; opening %.3f, must be < 0.5\n",
                    log2_t, log2_Q, log2_Q + std::log2(double(rings[L]->p())), flood_bits, response_bits, opening);
        if (opening >= 0.5 || babies * giants < turns || giants % 4) std::exit(2);
    }
    std::size_t packed_bytes(bool with_special) const {
        std::size_t bytes = 0;
        for (std::size_t j = 0; j < L + with_special; ++j) bytes += D * rings[j]->barrett().bits / 8;
        return bytes;
    }
    // round(Q m / t) modulo each q; m modulo t near zero
    Poly message(Residues m) const {
        subtract_scale(m.data(), nullptr, Q_mod_t, *t);
        Poly out(L, m);
        for (std::size_t j = 0; j < L; ++j) subtract_scale(out[j].data(), nullptr, minus_t_inverse[j], *rings[j]);
        return out;
    }
    // Coefficients, modulo Q P to Q: round(x / P)
    void drop_special(Poly& x) const {
        for (std::size_t j = 0; j < L; ++j) subtract_scale(x[j].data(), x[L].data(), special_inverse[j], *rings[j]);
    }
    // Transformed digits: d[i (L + 1) + j], with x = sum over i of digit i times the idempotent of q_i
    Poly digits(const Poly& x) const {
        Poly out;
        for (std::size_t i = 0; i < L; ++i)
            for (std::size_t j = 0; j <= L; ++j) out.push_back(x[i]), rings[j]->forward(out.back().data());
        return out;
    }
};

Residues uniform(Stream& stream, const Ring& ring) {
    Residues x(D);
    for (double& each : x) each = ring.residue(below(stream, ring.p()));
    return x;
}

struct Cipher { Poly b, a; };  // coefficients near zero; phase b - a z

// Keys of several turns. Key k switches from z to z' = z turned back; then comes the turn's permutation.
struct TurnKeys {
    std::vector<std::vector<std::uint16_t>> from;
    std::vector<Aligned<u64>> values;  // by prime: block after the turn, key, digit, half, point; minus b, minus a
};

struct SlotsKey {
    const Setting& s;
    Stream random;
    std::vector<std::int8_t> small = std::vector<std::int8_t>(D);
    Poly z;  // transformed, modulo Q P
    SlotsKey(const Setting& s, const Key& key) : s(s), random(key, Purpose::secret, 0) {
        ternary(random, small.data(), D);
        for (auto& ring : s.rings) z.emplace_back(small.begin(), small.end()), ring->forward(z.back().data());
    }
    std::vector<std::int64_t> errors() {
        std::vector<std::int64_t> e(D);
        gaussian(random, Width::narrow, e.data(), D);
        return e;
    }
    Cipher encrypt(const Poly& message) {
        Cipher c;
        auto e = errors();
        for (std::size_t j = 0; j < s.L; ++j) {
            c.a.push_back(uniform(random, *s.rings[j]));
            Residues x = c.a[j];
            s.rings[j]->forward(x.data());
            s.rings[j]->multiply(x.data(), x.data(), z[j].data());
            s.rings[j]->inverse(x.data());
            for (std::size_t i = 0; i < D; ++i) x[i] += double(e[i]) + (message.empty() ? 0.0 : message[j][i]);
            subtract_scale(x.data(), nullptr, 1, *s.rings[j]);
            c.b.push_back(x);
        }
        return c;
    }
    TurnKeys turn_keys(std::size_t count, std::size_t step) {
        TurnKeys keys{{}, std::vector<Aligned<u64>>(s.L + 1, Aligned<u64>(count * s.L * 2 * D))};
        for (std::size_t k = 0; k < count; ++k) {
            keys.from.push_back(s.places.permutation(Places::turn(k * step % N)));
            auto back = s.places.permutation(Places::turn(N - k * step % N));
            for (std::size_t i = 0; i < s.L; ++i) {
                auto e = errors();
                for (std::size_t j = 0; j <= s.L; ++j) {
                    const Ring& ring = *s.rings[j];
                    Residues a = uniform(random, ring), turned(D), b(e.begin(), e.end());
                    Residues own(D, i == j ? s.special[j] : 0.0);  // P z, in the digit's own prime
                    for (std::size_t x = 0; x < D; ++x) turned[x] = z[j][back[x]];
                    ring.forward(b.data());
                    ring.multiply(turned.data(), turned.data(), a.data());
                    ring.multiply(own.data(), own.data(), z[j].data());
                    for (std::size_t x = 0; x < D; ++x) b[x] += turned[x] + own[x];
                    for (std::size_t block = 0; block < blocks; ++block) {
                        std::size_t x = keys.from[k][8 * block] / 8 * 8;
                        u64* at = &keys.values[j][(((block * count + k) * s.L + i) * 2) * 8];
                        store(at, canonical_block(Modulus(ring), -load<Real>(&b[x])));
                        store(at + 8, canonical_block(Modulus(ring), -load<Real>(&a[x])));
                    }
                }
            }
        }
        return keys;
    }
};

// What is turned: by prime, block, ciphertext: the L digits of a and P b (b alone for giants), in [0, p).
using Turning = std::vector<Aligned<u64>>;

void put(const Setting& s, Turning& out, std::size_t count, std::size_t c, const Poly& digits, const Poly& b) {
    for (std::size_t j = 0; j <= s.L; ++j) {
        Modulus m(*s.rings[j]);
        for (std::size_t block = 0; block < blocks; ++block)
            for (std::size_t i = 0; i <= s.L; ++i) {
                const Residues& x = i < s.L ? digits[i * (s.L + 1) + j] : b[j];
                u64* at = &out[j][((block * count + c) * (s.L + 1) + i) * 8];
                store(at, canonical_block(m, load<Real>(&x[8 * block])));
            }
    }
}

// One block of a ciphertext after turn k: (b - sum of digit i key b_i, - sum of digit i key a_i), near zero.
inline void turned_block(const Setting& s, const Modulus& m, const Turning& given, std::size_t count, std::size_t c,
                         std::size_t j, const TurnKeys& keys, std::size_t k, std::size_t block, Real out[2]) {
    const std::uint16_t* from = keys.from[k].data() + 8 * block;
    const u64* digits = &given[j][((*from / 8u * count + c) * (s.L + 1)) * 8];
    const u64* key = &keys.values[j][((block * keys.from.size() + k) * s.L * 2) * 8];
    Sum b, a;
    b.low = load<Word>(digits + 8 * s.L);
    for (std::size_t i = 0; i < s.L; ++i) {
        Word digit = load<Word>(digits + 8 * i);
        b.add(digit, load<Word>(key + 16 * i));
        a.add(digit, load<Word>(key + 16 * i + 8));
    }
    typedef std::uint16_t Eight __attribute__((vector_size(16)));
    auto within = __builtin_convertvector(load<Eight>(from), Lanes::Index) & 7;
    out[0] = __builtin_shuffle(b.reduced(m), within);
    out[1] = __builtin_shuffle(a.reduced(m), within);
}

// H's diagonals, transformed modulo Q P: by prime, block, giant, baby. They serve all ciphertexts of a table.
std::vector<Aligned<u64>> diagonals(const Setting& s, const std::vector<u64>& hint) {
    std::vector<Aligned<u64>> out(s.L + 1, Aligned<u64>(s.giants * s.babies * D, 0));
    std::vector<std::size_t> place(4 * N);
    for (std::size_t v = 0; v < 4; ++v)
        for (std::size_t j = 0; j < N; ++j) place[v * N + j] = s.places.slot(v, j);
    for (std::size_t k = 0; k < turns; ++k) {
        std::size_t giant = k / s.babies, baby = k % s.babies;
        Residues x(D, 0.0), y;
        for (std::size_t r = 0; r < rows; ++r)
            for (std::size_t i = 0; i < parts; ++i)
                if (i * turns + k < N)  // the last part is one column shorter
                    for (std::size_t v = 0; v < 4; ++v)
                        x[place[v * N + (r + i * turns + giant * s.babies) % N]] =
                            s.t->residue(s.t->p() - hint[r * N + (r + i * turns + k) % N]);
        s.t->inverse(x.data());
        for (std::size_t j = 0; j <= s.L; ++j) {
            y = x;
            subtract_scale(y.data(), nullptr, 1, *s.rings[j]);
            s.rings[j]->forward(y.data());
            for (std::size_t block = 0; block < blocks; ++block)
                store(&out[j][((block * s.giants + giant) * s.babies + baby) * 8],
                      canonical_block(Modulus(*s.rings[j]), load<Real>(&y[8 * block])));
        }
    }
    return out;
}

// Products of all diagonals with the baby turns, one prime and block at a time: sums[ciphertext][giant] modulo Q P.
void products(const Setting& s, const std::vector<Aligned<u64>>& plain, const TurnKeys& keys, const Turning& given,
              std::size_t count, std::vector<std::vector<Cipher>>& sums) {
    Aligned<u64> turned(s.babies * count * 16);
    for (std::size_t j = 0; j <= s.L; ++j) {
        Modulus m(*s.rings[j]);
        for (std::size_t block = 0; block < blocks; ++block) {
            {
                Timed timed("respond: baby turns");
                for (std::size_t k = 0; k < s.babies; ++k)
                    for (std::size_t c = 0; c < count; ++c) {
                        Real x[2];
                        turned_block(s, m, given, count, c, j, keys, k, block, x);
                        store(&turned[(c * s.babies + k) * 16], canonical_block(m, x[0]));
                        store(&turned[(c * s.babies + k) * 16 + 8], canonical_block(m, x[1]));
                    }
            }
            Timed timed("respond: products");
            for (std::size_t g = 0; g < s.giants; g += 4)
                for (std::size_t c = 0; c < count; ++c) {
                    Sum b[4], a[4];
                    const u64* h = plain[j].data() + (block * s.giants + g) * s.babies * 8;
                    for (std::size_t k = 0; k < s.babies; ++k) {
                        const u64* at = &turned[(c * s.babies + k) * 16];
                        Word x = load<Word>(at), y = load<Word>(at + 8);
                        for (std::size_t d = 0; d < 4; ++d) {
                            Word value = load<Word>(h + (d * s.babies + k) * 8);
                            b[d].add(value, x);
                            a[d].add(value, y);
                        }
                    }
                    for (std::size_t d = 0; d < 4; ++d) {
                        store(sums[c][g + d].b[j].data() + 8 * block, b[d].reduced(m));
                        store(sums[c][g + d].a[j].data() + 8 * block, a[d].reduced(m));
                    }
                }
        }
    }
}

// sum over the giants of their turned sums; coefficients modulo Q.
Cipher giant_steps(const Setting& s, const TurnKeys& keys, std::vector<Cipher>& sums) {
    Cipher& total = sums[0];
    Turning given(s.L + 1, Aligned<u64>((s.L + 1) * D));
    for (std::size_t g = 1; g < s.giants; ++g) {
        for (std::size_t j = 0; j <= s.L; ++j) s.rings[j]->inverse(sums[g].a[j].data());
        s.drop_special(sums[g].a);
        put(s, given, 1, 0, s.digits(sums[g].a), sums[g].b);
        for (std::size_t j = 0; j <= s.L; ++j) {
            Modulus m(*s.rings[j]);
            for (std::size_t block = 0; block < blocks; ++block) {
                Real x[2];
                turned_block(s, m, given, 1, 0, j, keys, g, block, x);
                store(&total.b[j][8 * block], m.tamed(x[0] + load<Real>(&total.b[j][8 * block])));
                store(&total.a[j][8 * block], m.tamed(x[1] + load<Real>(&total.a[j][8 * block])));
            }
        }
    }
    for (Poly* half : {&total.b, &total.a}) {
        for (std::size_t j = 0; j <= s.L; ++j) s.rings[j]->inverse((*half)[j].data());
        s.drop_special(*half);
    }
    return total;
}

// The fresh encryption of zero: u (b, a) + errors, `key` the transformed public key.
void randomise(const Setting& s, const Cipher& key, Stream& random, Cipher& c) {
    std::vector<std::int8_t> u(D);
    std::vector<std::int64_t> e(2 * D);
    ternary(random, u.data(), D);
    gaussian(random, Width::narrow, e.data(), 2 * D);
    for (std::size_t j = 0; j < s.L; ++j) {
        Residues x(u.begin(), u.end()), y(D);
        s.rings[j]->forward(x.data());
        for (int half = 0; half < 2; ++half) {
            Residues& out = (half ? c.a : c.b)[j];
            s.rings[j]->multiply(y.data(), x.data(), (half ? key.a : key.b)[j].data());
            s.rings[j]->inverse(y.data());
            for (std::size_t i = 0; i < D; ++i) out[i] += y[i] + double(e[half * D + i]);
            subtract_scale(out.data(), nullptr, 1, *s.rings[j]);
        }
    }
}

// round(x 2^r / Q) modulo 2^r of every coefficient, after adding a flood modulo Q if asked.
Slots switched(const Setting& s, const Poly& x, Stream* random) {
    Slots out(D);
    std::vector<u64> inverse, scaled, word;
    for (std::size_t j = 0; j < s.L; ++j) {
        u64 q = s.rings[j]->p(), others = 1;
        for (std::size_t i = 0; i < s.L; ++i)
            if (i != j) others = u64(u128(others) * (s.rings[i]->p() % q) % q);
        inverse.push_back(inverse_modulo(others, q));
        scaled.push_back(u64((u128(1) << (63 + s.rings[j]->barrett().bits)) / q));
        word.push_back(u64((u128(1) << 64) % q));
    }
    std::vector<Slots> residues(s.L, Slots(D));
    for (std::size_t j = 0; j < s.L; ++j) s.rings[j]->canonical(residues[j].data(), x[j].data(), D);
    u128 mask = (u128(1) << s.flood_bits) - 1, half = u128(1) << (s.flood_bits + 1);
    for (std::size_t i = 0; i < D; ++i) {
        u128 flood = 0;
        if (random)
            for (int k = 0; k < 4; ++k) {
                u64 high = random->word();
                flood += ((u128(high) << 64) | random->word()) & mask;
            }
        u64 fraction = 0;  // of x / Q, in units of 2^-64, too small by 2 L units at most
        for (std::size_t j = 0; j < s.L; ++j) {
            const Barrett& q = s.rings[j]->barrett();
            auto modulo = [&](u128 y) { return q.reduce(u128(u64(y >> 64) % q.p) * word[j] + u64(y) % q.p); };
            u64 r = residues[j][i] + (random ? modulo(flood) + q.p - modulo(half) : 0);
            u64 y = q.reduce(u128(r) * inverse[j]);
            fraction += u64((u128(y) * scaled[j]) >> (q.bits - 1));
        }
        out[i] = ((fraction >> (63 - s.response_bits)) + 1) >> 1;
    }
    return out;
}

// Coefficients modulo t of what the answer (b, a) modulo 2^r hides.
Slots decrypt(const Setting& s, const Slots& b, const Slots& a, const std::vector<std::int8_t>& z) {
    unsigned above = 64 - s.response_bits;
    Slots x(D), product(D);
    for (std::size_t i = 0; i < D; ++i) x[i] = u64(static_cast<std::int64_t>(a[i] << above) >> above);
    auto words = word_ring(D);
    auto pair = words->transform(x.data());
    words->multiply(product.data(), pair[0].data(), pair[1].data(), words->transform(z.data()));
    for (std::size_t i = 0; i < D; ++i) {
        u64 phase = (b[i] - product[i]) << above;
        x[i] = u64((u128(phase) * s.t->p() + (u128(1) << 63)) >> 64) % s.t->p();
    }
    return x;
}

Slots values(const Setting& s, const Slots& coefficients) {
    Residues x(coefficients.begin(), coefficients.end());
    Slots out(D);
    s.t->forward(x.data());
    s.t->canonical(out.data(), x.data(), D);
    return out;
}

// Root mean square of the noise of a ciphertext modulo Q whose message is known, by its residues modulo two primes.
double noise(const Setting& s, const SlotsKey& key, const Cipher& c, const Slots& message) {
    Residues m(D);
    for (std::size_t i = 0; i < D; ++i) m[i] = s.t->residue(message[i]);
    Poly expected = s.message(m);
    Slots e[2] = {Slots(D), Slots(D)};
    for (std::size_t j = 0; j < 2; ++j) {
        Residues x = c.a[j];
        s.rings[j]->forward(x.data());
        s.rings[j]->multiply(x.data(), x.data(), key.z[j].data());
        s.rings[j]->inverse(x.data());
        for (std::size_t i = 0; i < D; ++i) x[i] = c.b[j][i] - x[i] - expected[j][i];
        s.rings[j]->canonical(e[j].data(), x.data(), D);
    }
    u64 p = s.rings[0]->p(), q = s.rings[1]->p(), inverse = inverse_modulo(p % q, q);
    double squares = 0;
    for (std::size_t i = 0; i < D; ++i) {
        u64 step = u64(u128((e[1][i] + q - e[0][i] % q) % q) * inverse % q);
        double x = double(e[0][i]) + double(p) * (double(step) - (step > q / 2 ? double(q) : 0.0));
        squares += x * x;
    }
    return std::sqrt(squares / D);
}

// Everything that is done for one batch of `count` ciphertexts; says how many products came out wrong.
std::size_t tree(const Setting& s, SlotsKey& key, const Cipher& public_key, const TurnKeys& baby_keys,
                 const TurnKeys& giant_keys, const std::vector<u64>& hint, const std::vector<Aligned<u64>>& plain,
                 std::size_t count, Stream& random) {
    u64 t = s.t->p();
    std::vector<std::int8_t> secrets(count * 4 * N);
    ternary(random, secrets.data(), secrets.size());
    std::vector<Cipher> sent;
    {
        Timed timed("encrypt");
        for (std::size_t c = 0; c < count; ++c) {
            Residues m(D);
            for (std::size_t v = 0; v < 4; ++v)
                for (std::size_t j = 0; j < N; ++j) m[s.places.slot(v, j)] = secrets[(4 * c + v) * N + j];
            s.t->inverse(m.data());
            sent.push_back(key.encrypt(s.message(m)));
        }
    }
    Turning given(s.L + 1, Aligned<u64>(count * (s.L + 1) * D));
    {
        Timed timed("respond: decompose");
        for (std::size_t c = 0; c < count; ++c) {
            Poly b = sent[c].b;
            for (std::size_t j = 0; j < s.L; ++j) {
                subtract_scale(b[j].data(), nullptr, s.special[j], *s.rings[j]);
                s.rings[j]->forward(b[j].data());
            }
            b.emplace_back(D, 0.0);
            put(s, given, count, c, s.digits(sent[c].a), b);
        }
    }
    Cipher empty{Poly(s.L + 1, Residues(D)), Poly(s.L + 1, Residues(D))};
    std::vector<std::vector<Cipher>> sums(count, std::vector<Cipher>(s.giants, empty));
    products(s, plain, baby_keys, given, count, sums);
    std::vector<Cipher> answers;
    {
        Timed timed("respond: giant turns");
        for (auto& each : sums) answers.push_back(giant_steps(s, giant_keys, each));
    }
    std::vector<Slots> useful, other, masks, mask_values;
    {
        Timed timed("respond: randomise, flood, switch, mask");
        for (Cipher& c : answers) {
            randomise(s, public_key, random, c);
            useful.push_back(switched(s, c.b, &random));
            other.push_back(switched(s, c.a, nullptr));
            masks.emplace_back(D);
            for (std::size_t i = 0; i < D; ++i) {
                u64 mask = masks.back()[i] = below(random, t);
                useful.back()[i] += u64(((u128(mask) << s.response_bits) + t / 2) / t);
            }
            mask_values.push_back(values(s, masks.back()));
        }
    }
    Slots plain_answer = decrypt(s, useful[0], other[0], key.small);
    for (std::size_t i = 0; i < D; ++i) plain_answer[i] = (plain_answer[i] + t - masks[0][i]) % t;
    double measured = noise(s, key, answers[0], plain_answer);
    std::vector<Slots> opened;
    {
        Timed timed("decrypt");
        for (std::size_t c = 0; c < count; ++c) opened.push_back(decrypt(s, useful[c], other[c], key.small));
        for (Slots& each : opened) each = values(s, each);
    }
    std::size_t wrong = 0;
    for (std::size_t c = 0; c < count; ++c)
        for (std::size_t v = 0; v < 4; ++v)
            for (std::size_t r = 0; r < rows; ++r) {
                __int128 sum = 0;
                for (std::size_t i = 0; i < N; ++i) sum += __int128(hint[r * N + i]) * secrets[(4 * c + v) * N + i];
                for (std::size_t i = 0; i < parts; ++i) {
                    std::size_t at = s.places.slot(v, r + i * turns);
                    sum += __int128(opened[c][at]) - __int128(mask_values[c][at]);
                }
                wrong += sum % __int128(t) != 0;
            }
    std::printf("%zu of %zu products wrong; noise before the flood 2^%.2f, predicted 2^%.2f\n", wrong, count * 4 * rows,
                std::log2(measured), std::log2(s.rms));
    return wrong;
}

int main(int arguments, char** words) {
    const std::string name = arguments > 1 ? words[1] : "";
    if (!settings.count(name)) return std::fprintf(stderr, "The head of the source says how to run this.\n"), 1;
    mallopt(M_MMAP_THRESHOLD, 1 << 30), mallopt(M_TRIM_THRESHOLD, INT_MAX);  // no page is faulted in twice
    auto number = [&](int k, int otherwise) { return std::size_t(arguments > k ? std::atoi(words[k]) : otherwise); };
    Setting s(settings.at(name), number(2, 86), number(3, 8));
    std::size_t count = number(4, 8), wrong = 0;
    SlotsKey key(s, Key{1});
    Stream random(Key{2}, Purpose::mask, 0);
    std::vector<u64> hint(rows * N);  // H as it stands in Z_t
    for (u64& each : hint) each = below(random, s.t->p());
    double begin = cpu_seconds();
    TurnKeys baby_keys = key.turn_keys(s.babies, 1), giant_keys = key.turn_keys(s.giants, s.babies);
    std::printf("turn keys, once a key: %.3f s\n", cpu_seconds() - begin);
    Cipher public_key = key.encrypt({});
    for (Poly* half : {&public_key.b, &public_key.a})
        for (std::size_t j = 0; j < s.L; ++j) s.rings[j]->forward((*half)[j].data());
    begin = cpu_seconds();
    auto plain = diagonals(s, hint);
    std::printf("diagonals, once a table: %.3f s\n", cpu_seconds() - begin);
    std::map<std::string, std::vector<double>> rounds;
    for (int round = 0; round < 5; ++round, spent.clear()) {
        wrong += tree(s, key, public_key, baby_keys, giant_keys, hint, plain, count, random);
        for (auto& [part, seconds] : spent) rounds[part].push_back(seconds);
    }
    std::printf("bytes up %zu, down %zu, keys once %zu, diagonals kept %zu\n", count * s.packed_bytes(false),
                count * 2 * D * s.response_bits / 8, (s.babies + s.giants - 2) * s.L * s.packed_bytes(true),
                turns * (s.L + 1) * D * 8);
    for (auto& [part, seconds] : rounds) {
        std::sort(seconds.begin(), seconds.end());
        std::printf("%-42s %.4f s, median of five\n", part.c_str(), seconds[2]);
    }
    return wrong != 0;
}
