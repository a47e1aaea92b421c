-- migrate:up
-- Whose job is next, and how often a job has ended with its worker.
set local role neurant_owner;

create table jobs.turns (
  lock text primary key,
  served_at timestamptz not null default clock_timestamp()
);
comment on table jobs.turns is
  'When a job of this lock (a company''s jobs of one kind) was last given out. What is older than an hour counts as never, and is removed.';

create table jobs.worker_deaths (
  job_id bigint primary key references jobs.procrastinate_jobs on delete cascade,
  deaths smallint not null check (deaths > 0)
);
comment on table jobs.worker_deaths is
  'How many workers died while they ran this job. A second death makes it a dead letter.';

grant select, insert, update, delete on jobs.turns, jobs.worker_deaths to neurant_jobs;

create function jobs.fetch_fair_job(p_queues character varying[], p_worker_id bigint)
returns jobs.procrastinate_jobs
language plpgsql set search_path = jobs, pg_temp as $$
declare
  v_job procrastinate_jobs;
begin
  with first_of_lock as (
    select distinct on (j.lock) j.id
    from procrastinate_jobs j
    where j.status = 'todo' and (p_queues is null or j.queue_name = any (p_queues))
      and (j.scheduled_at is null or j.scheduled_at <= now())
      and not exists (
        select from procrastinate_jobs running
        where running.lock = j.lock and running.status = 'doing')
    order by j.lock, j.priority desc, j.id
  ), next as (
    select j.id
    from procrastinate_jobs j
    join first_of_lock f on f.id = j.id
    left join turns t on t.lock = j.lock and t.served_at > now() - interval '1 hour'
    where j.status = 'todo'
    order by j.priority desc, t.served_at nulls first, j.id
    limit 1
    for update of j skip locked
  )
  update procrastinate_jobs j set status = 'doing', worker_id = p_worker_id
  from next where j.id = next.id
  returning j.* into v_job;
  if v_job.lock is not null then
    insert into turns (lock) values (v_job.lock)
    on conflict (lock) do update set served_at = excluded.served_at;
    delete from turns t  -- skip locked: two workers must not wait for each other here
    using (select o.lock from turns o where o.served_at < now() - interval '1 hour'
      for update skip locked) old
    where t.lock = old.lock;
  end if;
  return v_job;
end $$;
comment on function jobs.fetch_fair_job(character varying[], bigint) is
  'Gives a worker its next job: of the locks (a company''s jobs of one kind) of which none runs, the one that was served longest ago. procrastinate_fetch_job_v2 goes by the order of arrival, so the queues of two companies held back all others.';

create function jobs.count_worker_death(p_job_id bigint, p_worker_id bigint) returns integer
language plpgsql set search_path = jobs, pg_temp as $$
declare
  v_deaths integer;
begin
  perform from procrastinate_jobs j
  where j.id = p_job_id and j.status = 'doing' and j.worker_id is not distinct from p_worker_id
  for update;
  if not found then
    return null;  -- another worker was faster
  end if;
  insert into worker_deaths as d (job_id, deaths) values (p_job_id, 1)
  on conflict (job_id) do update set deaths = d.deaths + 1
  returning deaths into v_deaths;
  if v_deaths < 2 then
    perform procrastinate_retry_job_v1(p_job_id, now(), null, null, 'after a worker''s death');
  end if;
  return v_deaths;
end $$;
comment on function jobs.count_worker_death(bigint, bigint) is
  'Counts the death of the worker that ran this job, and gives the job back to the queue after the first one only. Jobs that saw a death run one after another, so that one of them cannot take another along a second time. Null: the job is no longer that worker''s.';

revoke execute on function jobs.fetch_fair_job(character varying[], bigint),
  jobs.count_worker_death(bigint, bigint) from public;
grant execute on function jobs.fetch_fair_job(character varying[], bigint),
  jobs.count_worker_death(bigint, bigint) to neurant_jobs;

reset role;
-- migrate:down
