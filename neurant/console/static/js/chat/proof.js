// A Web Worker that solves the challenge for a chat session while very many are being opened.
// For each index it searches for a number for which SHA-256("challenge:index:number") begins with zero
// bits. SHA-256 (FIPS 180-4) is written out here: crypto.subtle needs TLS, and its calls take longer
// than such a short text.

const primes = [];
for (let n = 2; primes.length < 64; n += 1) if (primes.every((prime) => n % prime)) primes.push(n);
const fraction = (x) => ((x - Math.floor(x)) * 2 ** 32) | 0;
const K = Int32Array.from(primes, (prime) => fraction(Math.cbrt(prime)));
const START = Int32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
const W = new Int32Array(64);

/** Writes the state after one more block of 64 bytes into `result`. */
function compress(state, bytes, offset, result) {
  for (let i = 0; i < 16; i += 1) {
    const at = offset + i * 4;
    W[i] = (bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3];
  }
  for (let i = 16; i < 64; i += 1) {
    const x = W[i - 15];
    const y = W[i - 2];
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    W[i] = (W[i - 16] + s0 + W[i - 7] + s1) | 0;
  }
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  let e = state[4];
  let f = state[5];
  let g = state[6];
  let h = state[7];
  for (let i = 0; i < 64; i += 1) {
    const s1 = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + W[i]) | 0;
    const s0 = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  result[0] = a + state[0];
  result[1] = b + state[1];
  result[2] = c + state[2];
  result[3] = d + state[3];
  result[4] = e + state[4];
  result[5] = f + state[5];
  result[6] = g + state[6];
  result[7] = h + state[7];
}

/** Returns a number that solves one search. The blocks before the number are hashed only once. */
function search(prefix, bits) {
  const text = new TextEncoder().encode(prefix);
  const whole = text.length - (text.length % 64);
  const before = Int32Array.from(START);
  for (let at = 0; at < whole; at += 64) compress(before, text, at, before);
  const begin = text.length - whole;
  const tail = new Uint8Array(128);
  tail.set(text.subarray(whole));
  const view = new DataView(tail.buffer);
  const state = new Int32Array(8);
  let places = 0;
  for (let number = 0; ; number += 1) {
    const digits = String(number);
    const length = begin + digits.length;
    const end = length + 9 <= 64 ? 64 : 128;
    if (digits.length > places) {
      tail.fill(0, begin); // clears the padding of a shorter number
      places = digits.length;
    }
    for (let i = 0; i < digits.length; i += 1) tail[begin + i] = digits.charCodeAt(i);
    tail[length] = 0x80;
    view.setUint32(end - 4, (whole + length) * 8);
    compress(before, tail, 0, state);
    if (end === 128) compress(state, tail, 64, state);
    if (state[0] >>> (32 - bits) === 0) return number;
  }
}

addEventListener("message", ({ data: { challenge, searches, bits } }) => {
  const numbers = [];
  for (let index = 0; index < searches; index += 1)
    numbers.push(search(`${challenge}:${index}:`, bits));
  postMessage(numbers);
});
