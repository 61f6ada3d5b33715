constexpr unsigned long spin(unsigned long n) { unsigned long s = 0; for (unsigned long i = 0; i < n; ++i) s += i * i; return s; }
template <unsigned long N> struct S { static constexpr unsigned long v = spin(200000 + N) + S<N - 1>::v; };
template <> struct S<0> { static constexpr unsigned long v = 0; };
int main() { return (int)S<800>::v; }
