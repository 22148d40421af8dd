// The hash that everything keyed by an id or a seed goes through.
#pragma once

#include <cstdint>

namespace forgetcli {

// The finaliser of SplitMix64 (Steele, Lea & Flood 2014), after one step of its generator so that 0 does not map to 0.
inline std::uint64_t mix(std::uint64_t x) {
    x += 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return x ^ (x >> 31);
}

// In [0, 1), from the upper 53 bits.
inline double unit_interval(std::uint64_t x) { return static_cast<double>(x >> 11) * 0x1p-53; }

}  // namespace forgetcli
