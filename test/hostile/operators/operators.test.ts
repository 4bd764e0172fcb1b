/** The part of the hostile suite about access files that operators and jobs apply. It needs no mesh. */
import { describeHostile } from '../area.ts';
import { ordersOfJobs } from './jobs.ts';
import { changesOfTrust } from './trust.ts';

describeHostile(changesOfTrust);
describeHostile(ordersOfJobs);
