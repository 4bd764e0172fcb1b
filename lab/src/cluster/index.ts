/** A real cluster for programs: tests of the chart, the Feature and the install page. */
export { type Cluster, clusterName, downCluster, findCluster, upCluster } from './cluster.ts';
