/* Stands in for NVIDIA's management library (libnvidia-ml.so.1), beside cuda.c. */
#include <stdio.h>
#include <stdlib.h>

enum { OK = 0, INVALID_ARGUMENT = 2, MOST = 8 };

typedef struct device { unsigned index; } *Device;
static struct device devices[MOST] = {{0}, {1}, {2}, {3}, {4}, {5}, {6}, {7}};
static const unsigned long long TOTAL = 85520809984ull, FREE = 85000000000ull;

static unsigned gpus(void) {
  const char *count = getenv("FAKE_GPUS");
  return count ? (unsigned)atoi(count) : 1;
}

int nvmlInit(void) { return OK; }
int nvmlInit_v2(void) { return OK; }
int nvmlInitWithFlags(unsigned flags) { return (void)flags, OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int error) { return (void)error, "no real driver"; }

int nvmlDeviceGetCount(unsigned *count) { return *count = gpus(), OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { return nvmlDeviceGetCount(count); }
int nvmlDeviceGetHandleByIndex(unsigned index, Device *device) {
  if (index >= gpus() || index >= MOST) return INVALID_ARGUMENT;
  *device = &devices[index];
  return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) { return nvmlDeviceGetHandleByIndex(index, device); }
int nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) { return (void)uuid, *device = devices, OK; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, Device *device) { return (void)id, *device = devices, OK; }

int nvmlDeviceGetIndex(Device device, unsigned *index) { return *index = device->index, OK; }
int nvmlDeviceGetName(Device device, char *name, unsigned size) {
  (void)device;
  snprintf(name, size, "NVIDIA H100 80GB HBM3");
  return OK;
}
int nvmlDeviceGetUUID(Device device, char *uuid, unsigned size) {
  snprintf(uuid, size, "GPU-0000000%u-0000-0000-0000-000000000000", device->index);
  return OK;
}
int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
  return (void)device, *major = 9, *minor = 0, OK;
}

struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(Device device, struct memory *memory) {
  (void)device;
  *memory = (struct memory){TOTAL, FREE, TOTAL - FREE};
  return OK;
}
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
int nvmlDeviceGetMemoryInfo_v2(Device device, struct memory_v2 *memory) {
  (void)device;
  *memory = (struct memory_v2){memory->version, TOTAL, 0, FREE, TOTAL - FREE};
  return OK;
}

int nvmlSystemGetDriverVersion(char *version, unsigned size) { return snprintf(version, size, "580.65.06"), OK; }
int nvmlSystemGetCudaDriverVersion(int *version) { return *version = 13000, OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *version) { return *version = 13000, OK; }
int nvmlDeviceGetMigMode(Device device, unsigned *now, unsigned *later) { return (void)device, *now = *later = 0, OK; }
int nvmlDeviceGetArchitecture(Device device, unsigned *architecture) { return (void)device, *architecture = 9, OK; }
int nvmlDeviceGetP2PStatus(Device left, Device right, int index, int *status) {
  return (void)left, (void)right, (void)index, *status = 0, OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned *count, void *processes) {
  return (void)device, (void)processes, *count = 0, OK;
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Device device, unsigned *count, void *processes) {
  return (void)device, (void)processes, *count = 0, OK;
}
int nvmlDeviceGetUtilizationRates(Device device, unsigned *rates) {
  return (void)device, rates[0] = rates[1] = 0, OK;
}
