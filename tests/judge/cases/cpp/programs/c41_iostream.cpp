#include <iostream>
#include <vector>
#include <algorithm>
#include <numeric>
int main(){ std::ios::sync_with_stdio(false); std::cin.tie(nullptr); std::vector<long long> v; for(long long x; std::cin>>x;) v.push_back(x); try { throw 1; } catch (int) {} std::sort(v.begin(), v.end()); std::cout<<std::accumulate(v.begin(), v.end(), 0LL)<<'\n'; }
