template <int N>
constexpr unsigned f() {
    unsigned s = N;
    for (int i = 0; i < 250000; i++) s = s * 1664525u + 1013904223u;
    return s;
}
template <int N>
struct Checked : Checked<N - 1> {
    static_assert(f<N>() != 1);
};
template <>
struct Checked<0> {};
Checked<180> all;
static_assert(f<1>() == 2, "error: late");
int main() {}
