template <class T, int N> struct L { typename L<L<T, N - 1>, N - 1>::no x; };
int main() { L<int, 400> l; undeclared; }
