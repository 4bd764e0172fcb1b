/** The hostile suite of approvals, which needs no mesh: answers of webhooks, and the page. */
import { describeHostile } from '../area.ts';
import { approvalPage } from './page.ts';
import { webhookAnswers } from './webhook.ts';

describeHostile(webhookAnswers);
describeHostile(approvalPage);
